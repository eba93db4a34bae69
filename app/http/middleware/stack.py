"""The order of the middleware."""

from starlette.middleware import Middleware

from app.http.middleware.allowed_hosts import AllowedHosts
from app.http.middleware.body_limits import BodyLimits
from app.http.middleware.local_only import LocalOnly
from app.http.middleware.overload import Overload
from app.http.middleware.rate_headers import RateHeaders
from app.http.middleware.request_log import RequestLog
from app.http.middleware.request_metrics import CountRequests, RequestMetrics
from app.http.middleware.request_traces import RequestTraces
from app.http.middleware.revoked_keys import RevokedKeys
from app.http.middleware.security_headers import SecurityHeaders
from app.settings import Settings
from app.tracing import SilentTracer, Tracer


def middleware_stack(settings: Settings, metrics: RequestMetrics, tracer: Tracer) -> list[Middleware]:
    """Return the middleware of the API, outermost first."""
    return [
        Middleware(CountRequests, metrics=metrics),
        *([] if isinstance(tracer, SilentTracer) else [Middleware(RequestTraces, tracer=tracer)]),
        Middleware(SecurityHeaders),
        Middleware(RequestLog),
        Middleware(Overload),
        Middleware(RateHeaders),
        Middleware(AllowedHosts, hosts=settings.hosts),
        *([] if settings.keys_required else [Middleware(LocalOnly)]),
        Middleware(
            BodyLimits, idle=settings.body_idle_timeout.total_seconds(), bytes_per_second=settings.body_bytes_per_second
        ),
        *([Middleware(RevokedKeys)] if settings.keys_required else []),
    ]
