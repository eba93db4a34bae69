"""Origins of the pages that make a browser send a request."""

from urllib.parse import urlsplit

from starlette.datastructures import Headers

SAFE_METHODS = frozenset({"GET", "HEAD", "OPTIONS"})
_OWN_SITES = frozenset({"same-origin", "none"})


def is_foreign(headers: Headers) -> bool:
    """Return whether a browser sends this for a page of another origin.

    `Sec-Fetch-Site` decides if it is present: pages cannot set it, and proxies that change `Host` do not alter it.
    Browsers omit it over plain HTTP to other machines; then `Origin` must name this host.
    """
    site = headers.get("sec-fetch-site")
    if site is not None:
        return site not in _OWN_SITES
    origin = headers.get("origin")
    return origin is not None and _host_of(origin) != headers.get("host", "")


def _host_of(origin: str) -> str | None:
    """Return host and port of an origin; None for an invalid one."""
    try:
        return urlsplit(origin).netloc or None
    except ValueError:
        return None
