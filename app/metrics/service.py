"""All metrics of an API process, in Prometheus' text format."""

import platform
from importlib.metadata import version
from pathlib import Path

from prometheus_client import (
    CONTENT_TYPE_PLAIN_0_0_4,
    CollectorRegistry,
    Gauge,
    ProcessCollector,
    disable_created_metrics,
    generate_latest,
)

from app.db.transactions import Sessions
from app.http.middleware.request_metrics import RequestMetrics
from app.metrics.jobs import JobMetrics

MEDIA_TYPE = CONTENT_TYPE_PLAIN_0_0_4
# `_created` series are for OpenMetrics; in the text format each would be a separate metric.
disable_created_metrics()  # type: ignore[no-untyped-call] # it has no annotations


class ServiceMetrics:
    """Metrics of one API process, and of all jobs after `watch`."""

    def __init__(self) -> None:
        self._registry = CollectorRegistry()
        self.requests = RequestMetrics(self._registry)
        ProcessCollector(registry=self._registry)
        build = Gauge(
            "nern_build_info", "Versions of the service and of Python.", ["version", "python"], registry=self._registry
        )
        build.labels(version("nern"), platform.python_version()).set(1)

    def watch(self, sessions: Sessions, artifacts: Path) -> None:
        """Add the metrics of jobs."""
        self._registry.register(JobMetrics(sessions, artifacts))

    def text(self) -> bytes:
        """Return all metrics as text."""
        return generate_latest(self._registry)
