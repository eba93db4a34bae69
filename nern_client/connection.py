"""Address and key of the service, and the conversion of requests and answers to and from httpx2."""

import os
from collections.abc import Generator, Mapping
from dataclasses import dataclass
from typing import Any

import httpx2

from nern_client.effects import Answer, ConnectionLost, Request
from nern_client.errors import NernClientError
from nern_client.proxies import proxy_for

_URL_VARIABLE = "NERN_URL"
_KEY_VARIABLE = "NERN_API_KEY"
_DEFAULT_URL = "http://127.0.0.1:8000"
_SECONDS_TO_CONNECT = 10.0
_NEVER_LEFT = (httpx2.ConnectError, httpx2.ConnectTimeout, httpx2.PoolTimeout)


@dataclass(frozen=True, slots=True)
class Server:
    """The address of a service and the API key for it."""

    url: str
    api_key: str | None

    @classmethod
    def named(cls, url: str | None, api_key: str | None) -> "Server":
        """Return the given server, else the one in NERN_URL and NERN_API_KEY, else this machine's, without a key.

        Raises `NernClientError` for an invalid address or key.
        """
        url = url or os.environ.get(_URL_VARIABLE) or _DEFAULT_URL
        if not url.startswith(("http://", "https://")):
            raise NernClientError(f"The address of the service must start with http:// or https://; it is {url!r}.")
        key = (api_key or os.environ.get(_KEY_VARIABLE) or "").strip()
        if not (key.isascii() and key.isprintable()):
            raise NernClientError(f"The API key contains invalid characters; check {_KEY_VARIABLE}.")
        return cls(url.rstrip("/"), key or None)

    def settings(self) -> dict[str, Any]:
        """Return the arguments for the constructors of both httpx2 clients."""
        headers = {"User-Agent": "nern-client", "Accept": "application/json"}
        key = None if self.api_key is None else _Bearer(self.api_key)
        return {"base_url": self.url, "headers": headers, "auth": key, "follow_redirects": False}


class _Bearer(httpx2.Auth):
    """Sends the key with every request to the service, not to other hosts."""

    def __init__(self, api_key: str) -> None:
        self._api_key = api_key

    def auth_flow(self, request: httpx2.Request) -> Generator[httpx2.Request, httpx2.Response, None]:
        """Add the key to one request."""
        request.headers["Authorization"] = f"Bearer {self._api_key}"
        yield request


def request_arguments(request: Request) -> dict[str, Any]:
    """Convert a request to arguments for httpx2, without the body."""
    headers = dict(request.headers)
    if request.content is not None:
        headers["Content-Length"] = str(request.content.length)
    return {
        "method": request.method,
        "url": request.path,
        "params": dict(request.query) or None,
        "headers": headers,
        "auth": None if request.elsewhere else httpx2.USE_CLIENT_DEFAULT,
        "timeout": httpx2.Timeout(request.seconds_to_answer, connect=_SECONDS_TO_CONNECT),
    }


def answer_of(response: httpx2.Response, body: bytes = b"") -> Answer:
    """Convert a response of httpx2."""
    return Answer(response.status_code, _lower(response.headers), body, _proxy_named(response.request))


def lost(error: httpx2.TransportError) -> ConnectionLost:
    """Convert a connection error of httpx2."""
    reason = str(error) or type(error).__name__
    return ConnectionLost(
        reason.rstrip("."), sent=not isinstance(error, _NEVER_LEFT), proxy=_proxy_named(error.request)
    )


def _proxy_named(request: httpx2.Request) -> str | None:
    proxy = proxy_for(request.url)
    return None if proxy is None else str(proxy)


def _lower(headers: Mapping[str, str]) -> dict[str, str]:
    return {name.lower(): value for name, value in headers.items()}
