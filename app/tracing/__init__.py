"""Traces by OpenTelemetry: the way of a job from the request that made it to the phases of its encoding.

Where nobody has named a collector, OpenTelemetry is not loaded from here, and a tracer does nothing.
"""

from app.tracing.create import create_tracer
from app.tracing.tracer import Attributes, SilentTracer, Span, Tracer

__all__ = ["Attributes", "SilentTracer", "Span", "Tracer", "create_tracer"]
