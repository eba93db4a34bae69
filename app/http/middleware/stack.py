"""Order of the layers of the edge."""

from starlette.middleware import Middleware

from app.http.middleware.allowed_hosts import AllowedHosts
from app.http.middleware.body_limits import Bodies
from app.http.middleware.local_only import LocalOnly
from app.http.middleware.overload import Crowding
from app.http.middleware.rate_headers import RateHeaders
from app.http.middleware.request_log import RequestRecord
from app.http.middleware.request_traces import RequestTraces
from app.http.middleware.revoked_keys import RevokedKeys
from app.http.middleware.security_headers import SafeHeaders
from app.metrics.requests import CountRequests
from app.metrics.service import ServiceMetrics
from app.settings import Settings
from app.tracing import SilentTracer, Tracer


def layers(settings: Settings, metrics: ServiceMetrics, tracer: Tracer) -> list[Middleware]:
    """Return the middleware of the API, outermost first."""
    return [
        Middleware(CountRequests, metrics=metrics.requests),
        *([] if isinstance(tracer, SilentTracer) else [Middleware(RequestTraces, tracer=tracer)]),
        Middleware(SafeHeaders),
        Middleware(RequestRecord),
        Middleware(Crowding),
        Middleware(RateHeaders),
        Middleware(AllowedHosts, hosts=settings.hosts),
        *([] if settings.keys_required else [Middleware(LocalOnly)]),
        Middleware(
            Bodies, idle=settings.body_idle_timeout.total_seconds(), bytes_per_second=settings.body_bytes_per_second
        ),
        *([Middleware(RevokedKeys)] if settings.keys_required else []),
    ]
