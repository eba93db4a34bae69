"""Metrics of the requests of this process."""

from time import perf_counter

from prometheus_client import CollectorRegistry, Counter, Histogram
from starlette.types import ASGIApp, Message, Receive, Scope, Send

_METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})
# Uploads take minutes.
_SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300, 1800)


class RequestMetrics:
    """Counts, durations and body sizes of requests."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self.requests = Counter(
            "nern_http_requests",
            "Requests received.",
            ["method", "route", "status"],
            registry=registry,
        )
        self.seconds = Histogram(
            "nern_http_request_duration_seconds",
            "Time from the head of a request to the end of its response.",
            ["method", "route"],
            buckets=_SECONDS,
            registry=registry,
        )
        self.body_bytes = Counter(
            "nern_http_request_body_bytes",
            "Bytes of request bodies, mostly uploads.",
            ["method", "route"],
            registry=registry,
        )


class CountRequests:
    """Counts every request, whatever its outcome."""

    def __init__(self, app: ASGIApp, metrics: RequestMetrics) -> None:
        self._app = app
        self._metrics = metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        start, status, received = perf_counter(), "none", 0

        async def receive_and_count() -> Message:
            nonlocal received
            message = await receive()
            received += len(message.get("body", b""))
            return message

        async def send_and_note(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = str(message["status"])
            await send(message)

        try:
            await self._app(scope, receive_and_count, send_and_note)
        finally:
            labels = _method(scope), _route(scope)
            self._metrics.requests.labels(*labels, status).inc()
            self._metrics.seconds.labels(*labels).observe(perf_counter() - start)
            self._metrics.body_bytes.labels(*labels).inc(received)


def _method(scope: Scope) -> str:
    method: str = scope["method"]
    return method if method in _METHODS else "other"


def _route(scope: Scope) -> str:
    """Return the route's pattern, because the number of paths is unlimited."""
    route = scope.get("route")
    return "none" if route is None else str(route.path)
