"""OpenTelemetry traces of a job, from the request that created it to the phases of its encoding.

Without a configured collector, OpenTelemetry is not loaded and the tracer does nothing.
"""

from app.tracing.create import create_tracer
from app.tracing.tracer import Attributes, SilentTracer, Span, Tracer

__all__ = ["Attributes", "SilentTracer", "Span", "Tracer", "create_tracer"]
