"""A span for each request, within the client's trace."""

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from app.tracing import Tracer

# Requested every few seconds by probes and Prometheus, without information.
_SILENT = frozenset({"/livez", "/readyz", "/metrics"})
_FIRST_ERROR_OF_SERVER = 500


class RequestTraces:
    """Traces requests; routes find the span in `request.state.traceparent`."""

    def __init__(self, app: ASGIApp, tracer: Tracer) -> None:
        self._app = app
        self._tracer = tracer

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on."""
        if scope["type"] != "http" or scope["path"] in _SILENT:
            await self._app(scope, receive, send)
            return
        method, status = scope["method"], None

        async def send_and_note(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            await send(message)

        about = {"http.request.method": method}
        with self._tracer.request(method, Headers(scope=scope).get("traceparent"), about) as span:
            scope.setdefault("state", {})["traceparent"] = span.traceparent
            try:
                await self._app(scope, receive, send_and_note)
            finally:
                route = scope.get("route")
                if route is not None:
                    span.rename(f"{method} {route.path}")
                    span.note({"http.route": route.path})
                if status is not None:
                    span.note({"http.response.status_code": status})
                if status is None or status >= _FIRST_ERROR_OF_SERVER:
                    span.fail("no answer" if status is None else f"answered with {status}")
