"""Metrics of jobs of all processes, from the database, so every API process reports the same.

Queued and running jobs are counted at a scrape, at most every 5 seconds. Ended jobs are counted once each, from the
start of this process.
"""

import shutil
import time
from collections.abc import Iterable, Sequence
from datetime import datetime, timedelta
from pathlib import Path
from threading import Lock

import structlog
from prometheus_client import CollectorRegistry, Gauge, Metric
from prometheus_client.registry import Collector
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.orm import Session

from app.db.transactions import Sessions, transact
from app.jobs.deliveries.repository import DeliveryRepository
from app.jobs.models import JobStatus
from app.metrics.ended_jobs import EndedJobMetrics
from app.metrics.repository import ACTIVE, ActiveJobs, MetricsRepository
from app.workers.repository import WorkerRepository
from nern_core.contract.options import Device

_log = structlog.get_logger()
_SECONDS_BETWEEN_LOOKS = 5.0
# Longest time between a timestamp in a transaction and its commit.
_OVERLAP = timedelta(minutes=1)


class JobMetrics(Collector):
    """Reads the database when its metrics are collected."""

    def __init__(self, sessions: Sessions, artifacts: Path) -> None:
        self._sessions = sessions
        self._artifacts = artifacts
        self._registry = CollectorRegistry()
        self._jobs = self._gauge("nern_jobs", "Jobs that have not ended.", "status", "device")
        self._wait = self._gauge("nern_queue_oldest_wait_seconds", "Age of the oldest queued job.", "device")
        self._deliveries = self._gauge("nern_webhook_deliveries_pending", "Webhook deliveries that are pending.")
        self._not_understood = self._gauge(
            "nern_jobs_not_understood", "Queued jobs that need a worker of a newer release."
        )
        self._unfit = self._gauge(
            "nern_workers_unfit", "Workers that take no jobs because of a fault of their machine.", "reason"
        )
        self._up = self._gauge("nern_database_up", "1 if the database answers, 0 otherwise.")
        self._free = self._gauge("nern_artifact_store_free_bytes", "Free space on the artifact disk.")
        self._ended = EndedJobMetrics(self._registry)
        self._counted: dict[str, datetime] = {}
        self._began = self._since = self._now()
        self._next_look = 0.0
        self._lock = Lock()

    def collect(self) -> Iterable[Metric]:
        """Return all metrics of jobs."""
        with self._lock:
            if time.monotonic() >= self._next_look:
                self._look()
                self._next_look = time.monotonic() + _SECONDS_BETWEEN_LOOKS
            return list(self._registry.collect())

    def _look(self) -> None:
        self._free.set(shutil.disk_usage(self._artifacts).free)
        try:
            with self._sessions.begin() as session:
                self._read(session)
        except SQLAlchemyError as error:
            _log.warning("metrics_not_read", error=repr(error))
            self._up.set(0)
        else:
            self._up.set(1)

    def _read(self, session: Session) -> None:
        repository = MetricsRepository(session)
        self._show(repository.active())
        self._not_understood.set(repository.not_understood())
        self._deliveries.set(DeliveryRepository(session).pending())
        self._unfit.clear()
        for reason, count in WorkerRepository(session).unfit().items():
            self._unfit.labels(reason).set(count)
        now = repository.now()
        for job in repository.ended_since(self._since - _OVERLAP):
            if job.id not in self._counted and job.finished_at >= self._began:
                self._ended.count(job)
                self._counted[job.id] = job.finished_at
                # A time in the future must not hide the jobs that end before it.
                self._since = max(self._since, min(job.finished_at, now))
        self._counted = {job_id: at for job_id, at in self._counted.items() if at >= self._since - _OVERLAP}

    def _show(self, active: Sequence[ActiveJobs]) -> None:
        for device in Device:
            for status in ACTIVE:
                self._jobs.labels(status.value, device.value).set(0)
            self._wait.labels(device.value).set(0)
        for found in active:
            self._jobs.labels(found.status, found.device).set(found.count)
            if found.status == JobStatus.QUEUED:
                self._wait.labels(found.device).set(found.oldest.total_seconds())

    def _gauge(self, name: str, text: str, *labels: str) -> Gauge:
        return Gauge(name, text, labels, registry=self._registry)

    def _now(self) -> datetime:
        # With retries, because the start of the process must not fail because of a lost connection.
        return transact(self._sessions, lambda session: MetricsRepository(session).now())
