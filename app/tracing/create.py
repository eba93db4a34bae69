"""Creates the tracer that the settings ask for."""

import os

from app.settings import Settings
from app.tracing.tracer import SilentTracer, Tracer
from nern_core.contract.errors import NernError

# OpenTelemetry's own variables that name a collector.
_ENDPOINTS = ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "OTEL_EXPORTER_OTLP_ENDPOINT")


def create_tracer(settings: Settings, part: str) -> Tracer:
    """Create the tracer of a part of the service. Raises `NernError` (`no_opentelemetry`) if the extra is missing."""
    named = settings.otlp_endpoint or any(os.environ.get(name) for name in _ENDPOINTS)
    if not named or os.environ.get("OTEL_SDK_DISABLED", "").lower() == "true":
        return SilentTracer()
    try:
        from app.tracing.otlp import OtlpTracer
    except ModuleNotFoundError as error:
        raise NernError(
            "no_opentelemetry",
            "A trace collector is configured, but OpenTelemetry is missing: install nern[opentelemetry].",
        ) from error
    return OtlpTracer(settings.otlp_endpoint, part)
