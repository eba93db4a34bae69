"""Headers with the client's remaining requests."""

from starlette.datastructures import MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from app.access.rate import Allowance, rate_headers


class RateHeaders:
    """Adds the headers to responses of counted requests."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on."""

        async def send_with_rate(message: Message) -> None:
            allowance = scope.get("state", {}).get("allowance")
            if message["type"] == "http.response.start" and isinstance(allowance, Allowance):
                MutableHeaders(scope=message).update(rate_headers(allowance))
            await send(message)

        await self._app(scope, receive, send_with_rate)
