"""Where the service is and who asks, and how httpx2 is told what an operation wants."""

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
    """The address of a service, and the key that it is asked with."""

    url: str
    api_key: str | None

    @classmethod
    def named(cls, url: str | None, api_key: str | None) -> "Server":
        """What was given, else what NERN_URL and NERN_API_KEY say, else this machine's own service without a key.

        Raises `NernClientError` for what is no address.
        """
        url = url or os.environ.get(_URL_VARIABLE) or _DEFAULT_URL
        if not url.startswith(("http://", "https://")):
            raise NernClientError(f"The address of the service has to start with http:// or https://; it is {url!r}.")
        key = (api_key or os.environ.get(_KEY_VARIABLE) or "").strip()
        if not (key.isascii() and key.isprintable()):
            raise NernClientError(f"The API key has characters that no key has; look at {_KEY_VARIABLE}.")
        return cls(url.rstrip("/"), key or None)

    def settings(self) -> dict[str, Any]:
        """What both clients of httpx2 are made with."""
        headers = {"User-Agent": "nern-client", "Accept": "application/json"}
        key = None if self.api_key is None else _Bearer(self.api_key)
        return {"base_url": self.url, "headers": headers, "auth": key, "follow_redirects": False}


class _Bearer(httpx2.Auth):
    """Sends the key with every request, unless that goes elsewhere."""

    def __init__(self, api_key: str) -> None:
        self._api_key = api_key

    def auth_flow(self, request: httpx2.Request) -> Generator[httpx2.Request, httpx2.Response, None]:
        """One request, with the key."""
        request.headers["Authorization"] = f"Bearer {self._api_key}"
        yield request


def request_arguments(request: Request) -> dict[str, Any]:
    """A request in the words of httpx2, without its body."""
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
    """What httpx2 has received."""
    return Answer(response.status_code, _lower(response.headers), body, _proxy_named(response.request))


def lost(error: httpx2.TransportError) -> ConnectionLost:
    """A break of the connection, as operations know it."""
    reason = str(error) or type(error).__name__
    return ConnectionLost(
        reason.rstrip("."), sent=not isinstance(error, _NEVER_LEFT), proxy=_proxy_named(error.request)
    )


def _proxy_named(request: httpx2.Request) -> str | None:
    proxy = proxy_for(request.url)
    return None if proxy is None else str(proxy)


def _lower(headers: Mapping[str, str]) -> dict[str, str]:
    return {name.lower(): value for name, value in headers.items()}
