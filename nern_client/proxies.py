"""Proxies from the environment (HTTP_PROXY, HTTPS_PROXY, ALL_PROXY) and the exceptions in NO_PROXY.

httpx2 reads the environment itself, but uses a proxy even for this machine, and fails on an unusable proxy even if no
request needs it. Here the proxy is chosen for each request.
"""

import ipaddress
import os
import re
from collections.abc import Callable
from dataclasses import dataclass
from types import TracebackType
from typing import Generic, Self, TypeVar
from urllib.request import getproxies

import httpx2

from nern_client.errors import NernClientError

_USER = re.compile(r"//[^/]*@")
Transport = TypeVar("Transport")


@dataclass(frozen=True, slots=True)
class Proxy:
    """A proxy and the environment variable it comes from."""

    url: str
    variable: str

    def __str__(self) -> str:
        """Describe the proxy for an error message, without user and password."""
        return f"the proxy {_USER.sub('//', self.url)} of {self.variable}"


def proxy_for(url: httpx2.URL) -> Proxy | None:
    """Return the proxy for a request; None if it goes directly, as requests to this machine always do."""
    proxies = getproxies()
    kind = next((kind for kind in (url.scheme, "all") if proxies.get(kind)), None)
    if kind is None or _is_loopback(url.host) or _is_excluded(url, proxies.get("no", "")):
        return None
    name = f"{kind}_proxy"
    variable = next((shown for shown in (name.upper(), name) if shown in os.environ), "this system's settings")
    address = proxies[kind]
    return Proxy(address if "://" in address else f"http://{address}", variable)


def _is_loopback(host: str) -> bool:
    if host == "localhost" or host.endswith(".localhost"):
        return True
    address = _address(host)
    return address is not None and (address.is_loopback or address.is_unspecified)


def _is_excluded(url: httpx2.URL, entries: str) -> bool:
    return any(_excludes(entry, url) for entry in re.split(r"[,\s]+", entries.lower()) if entry)


def _excludes(entry: str, url: httpx2.URL) -> bool:
    """Match an entry of NO_PROXY: `*`, a domain with its subdomains, an address, a network; each may have a port."""
    if entry == "*":
        return True
    name, colon, port = entry.rpartition(":")
    if colon and port.isdecimal() and (":" not in name or name.endswith("]")):
        if int(port) != (url.port or {"http": 80, "https": 443}.get(url.scheme)):
            return False
        entry = name
    address = _address(url.host)
    if address is not None:
        try:
            return address in ipaddress.ip_network(entry.strip("[]"), strict=False)
        except ValueError:
            return False
    name = entry.removeprefix("*").removeprefix(".")
    return url.host == name or url.host.endswith(f".{name}")


def _address(host: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    try:
        return ipaddress.ip_address(host.strip("[]"))
    except ValueError:
        return None


class _Transports(Generic[Transport]):
    """Direct and proxied transports, each created when it is first needed."""

    def __init__(self, make: Callable[[str | None], Transport]) -> None:
        self._make = make
        self._made: dict[str | None, Transport] = {}

    def of(self, url: httpx2.URL) -> Transport:
        """Return the transport for requests to an address. Raises `NernClientError` for an unusable proxy."""
        proxy = proxy_for(url)
        address = None if proxy is None else proxy.url
        if address not in self._made:
            try:
                self._made[address] = self._make(address)
            except ImportError as error:
                raise NernClientError(
                    f"{url.host} cannot be reached through {proxy}: SOCKS needs httpx2[socks]; install it, or add the "
                    "host to NO_PROXY."
                ) from error
            except (ValueError, httpx2.InvalidURL) as error:
                raise NernClientError(f"{url.host} cannot be reached through {proxy}: {error}") from error
        return self._made[address]

    @property
    def all(self) -> list[Transport]:
        """The transports created so far."""
        return list(self._made.values())


class ProxyTransport(httpx2.BaseTransport):
    """Sends each request directly or through its proxy."""

    def __init__(self) -> None:
        self._transports = _Transports(lambda proxy: httpx2.HTTPTransport(proxy=proxy))

    def handle_request(self, request: httpx2.Request) -> httpx2.Response:
        """Send a request."""
        return self._transports.of(request.url).handle_request(request)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None = None,
        error: BaseException | None = None,
        traceback: TracebackType | None = None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close all connections."""
        for transport in self._transports.all:
            transport.close()


class AsyncProxyTransport(httpx2.AsyncBaseTransport):
    """Sends each request directly or through its proxy, for the asynchronous client."""

    def __init__(self) -> None:
        self._transports = _Transports(lambda proxy: httpx2.AsyncHTTPTransport(proxy=proxy))

    async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
        """Send a request."""
        return await self._transports.of(request.url).handle_async_request(request)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None = None,
        error: BaseException | None = None,
        traceback: TracebackType | None = None,
    ) -> None:
        await self.aclose()

    async def aclose(self) -> None:
        """Close all connections."""
        for transport in self._transports.all:
            await transport.aclose()
