"""Metrics of jobs that have ended."""

from prometheus_client import CollectorRegistry, Counter, Histogram

from app.db.stored_documents import read_document
from app.metrics.repository import EndedJob
from nern_core.contract.metrics import Metrics
from nern_core.contract.progress import Phase

_SECONDS = (1, 5, 15, 30, 60, 120, 300, 600, 1800, 3600, 7200, 21_600, 86_400)
# Points of accuracy; negative if an encoding is more accurate than its original.
_POINTS = (-0.5, 0.0, 0.05, 0.1, 0.25, 0.5, 1, 2, 5, 10, 25, 100)
_RATIOS = (1, 2, 4, 6, 8, 10, 12, 16, 20, 32, 64)
# A runner that was compromised by its checkpoint may report any error code.
_MOST_ERRORS = 50


class EndedJobMetrics:
    """Outcomes, durations and results of ended jobs."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self._errors: set[str] = set()
        self._ended = Counter(
            "nern_jobs_ended",
            "Jobs that have ended; `error` is the code of a failure.",
            ["kind", "status", "device", "error"],
            registry=registry,
        )
        self._wait = Histogram(
            "nern_job_wait_seconds",
            "Time from a job's submission to its first attempt.",
            ["device"],
            buckets=_SECONDS,
            registry=registry,
        )
        self._duration = Histogram(
            "nern_job_duration_seconds",
            "Time from a job's first attempt to its end.",
            ["kind", "status", "device"],
            buckets=_SECONDS,
            registry=registry,
        )
        self._phases = Histogram(
            "nern_job_phase_duration_seconds",
            "Duration of a phase of a successful job.",
            ["phase"],
            buckets=_SECONDS,
            registry=registry,
        )
        self._drop = Histogram(
            "nern_job_accuracy_drop_points",
            "Accuracy of the original minus that of its encoding, in points.",
            buckets=_POINTS,
            registry=registry,
        )
        self._ratio = Histogram(
            "nern_job_compression_ratio",
            "Bytes of a checkpoint divided by bytes of its encoding.",
            buckets=_RATIOS,
            registry=registry,
        )

    def count(self, job: EndedJob) -> None:
        """Count one job."""
        self._ended.labels(job.kind, job.status, job.device, self._bounded(job.error_code or "")).inc()
        if job.started_at is not None:
            self._wait.labels(job.device).observe((job.started_at - job.created_at).total_seconds())
            duration = (job.finished_at - job.started_at).total_seconds()
            self._duration.labels(job.kind, job.status, job.device).observe(duration)
        metrics = read_document(Metrics, job.metrics)
        if metrics is not None:
            self._count_result(metrics)

    def _count_result(self, metrics: Metrics) -> None:
        self._ratio.observe(metrics.ratio)
        if metrics.original_accuracy is not None and metrics.reconstructed_accuracy is not None:
            self._drop.observe(metrics.original_accuracy - metrics.reconstructed_accuracy)
        for phase in Phase:
            if phase in metrics.seconds:
                self._phases.labels(phase.value).observe(metrics.seconds[phase])

    def _bounded(self, error: str) -> str:
        if error not in self._errors and len(self._errors) >= _MOST_ERRORS:
            return "other"
        self._errors.add(error)
        return error
