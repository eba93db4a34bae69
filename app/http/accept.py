"""Parse the `Accept` header (RFC 9110): pages for browsers, documents for programs."""

from typing import Final

HTML: Final = "text/html"
_JSON: Final = "application/json"


def prefers_html(accept: str) -> bool:
    """Return whether HTML has a higher quality than JSON. False for a client that does not name HTML, such as curl."""
    qualities: dict[str, float] = {}
    for part in accept.split(","):
        name, *parameters = (text.strip().lower() for text in part.split(";"))
        qualities[name] = _quality(parameters)
    wildcard = qualities.get("*/*", 0.0)
    return qualities.get(HTML, 0.0) > qualities.get(_JSON, qualities.get("application/*", wildcard))


def _quality(parameters: list[str]) -> float:
    given = next((text.removeprefix("q=") for text in parameters if text.startswith("q=")), "1")
    try:
        return float(given)
    except ValueError:
        return 0.0
