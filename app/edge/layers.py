"""Order of the layers of the edge."""

from starlette.middleware import Middleware

from app.edge.allowed_hosts import AllowedHosts
from app.edge.bodies import Bodies
from app.edge.crowding import Crowding
from app.edge.local_only import LocalOnly
from app.edge.rate_headers import RateHeaders
from app.edge.request_record import RequestRecord
from app.edge.request_traces import RequestTraces
from app.edge.revoked_keys import RevokedKeys
from app.edge.safe_headers import SafeHeaders
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
