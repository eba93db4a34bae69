"""Tracer that sends spans to a collector by OTLP over HTTP. The only module that loads OpenTelemetry."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.metadata import version

from opentelemetry.context import Context
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import SERVICE_NAME, SERVICE_VERSION, Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from opentelemetry.trace import Span, SpanKind, Status, StatusCode, set_span_in_context
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from app.tracing.tracer import Attributes

_NANOSECONDS = 1_000_000_000
_HEADER = "traceparent"
_propagator = TraceContextTextMapPropagator()


class OtlpTracer:
    """Sends spans every few seconds. Without an `endpoint`, OpenTelemetry's own variables apply.

    An unreachable collector only causes lost spans and a line in the log.
    """

    def __init__(self, endpoint: str, part: str) -> None:
        name = os.environ.get("OTEL_SERVICE_NAME") or f"nern-{part}"
        resource = Resource.create({SERVICE_NAME: name, SERVICE_VERSION: version("nern")})
        exporter = OTLPSpanExporter(endpoint=f"{endpoint.rstrip('/')}/v1/traces" if endpoint else None)
        self._provider = TracerProvider(resource=resource)
        self._provider.add_span_processor(BatchSpanProcessor(exporter))
        self._tracer = self._provider.get_tracer("nern", version("nern"))

    @contextmanager
    def request(self, name: str, parent: str | None, attributes: Attributes) -> Iterator["_OtlpSpan"]:
        """A span of the kind `server`."""
        with self._span(name, parent, SpanKind.SERVER, attributes) as span:
            yield span

    @contextmanager
    def job(self, name: str, parent: str | None, attributes: Attributes) -> Iterator["_OtlpSpan"]:
        """A span of the kind `consumer`."""
        with self._span(name, parent, SpanKind.CONSUMER, attributes) as span:
            yield span

    def part(self, name: str, parent: str | None, start: float, end: float) -> None:
        """A span with times of its own."""
        span = self._tracer.start_span(name, _context_of(parent), start_time=round(start * _NANOSECONDS))
        span.end(round(end * _NANOSECONDS))

    def stop(self) -> None:
        """Send the remaining spans, and end the sending thread."""
        self._provider.shutdown()

    @contextmanager
    def _span(self, name: str, parent: str | None, kind: SpanKind, attributes: Attributes) -> Iterator["_OtlpSpan"]:
        with self._tracer.start_as_current_span(name, _context_of(parent), kind, attributes) as span:
            yield _OtlpSpan(span)


class _OtlpSpan:
    def __init__(self, span: Span) -> None:
        self._span = span
        carrier: dict[str, str] = {}
        _propagator.inject(carrier, set_span_in_context(span))
        self.traceparent = carrier.get(_HEADER)

    def rename(self, name: str) -> None:
        self._span.update_name(name)

    def note(self, attributes: Attributes) -> None:
        self._span.set_attributes(attributes)

    def fail(self, reason: str) -> None:
        self._span.set_status(Status(StatusCode.ERROR, reason))


def _context_of(parent: str | None) -> Context:
    """Return a context with the parent as current span. Without a valid parent, a new trace begins."""
    return _propagator.extract({} if parent is None else {_HEADER: parent}, Context())
