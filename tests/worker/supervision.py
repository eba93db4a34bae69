"""Supervisors with short intervals and children of the test."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

from app.jobs.models import Job
from tests.worker.conftest import Jobs
from tests.worker.scripted_child import Script, ScriptedStarter
from worker.child import ChildStarter
from worker.limits import Limits
from worker.supervisor import Supervisor
from worker.timing import Timing


def nothing() -> None:
    """Let a copy continue."""


class Clock:
    """A clock that only its owner and `sleep` advance."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.now += seconds


def fast(**changes: Any) -> Timing:
    """Return short intervals."""
    intervals: dict[str, Any] = {
        "between_heartbeats": 0.01,
        "between_checks": 0.01,
        "between_full_checks": 0.02,
        "between_database_retries": 0.001,
        "between_store_retries": 0.001,
        "first_pause": 0.001,
        "longest_pause": 0.001,
    }
    return Timing(**intervals | changes)


def on(clock: Clock, **changes: Any) -> Timing:
    """Return short intervals on a clock of the test, on which pauses take no time."""
    return fast(now=clock, sleep=clock.sleep, **changes)


def supervisor(
    jobs: Jobs,
    child: Script | ChildStarter,
    stopping: Callable[[], bool] = lambda: False,
    timing: Timing | None = None,
    limits: dict[str, Any] | None = None,
    **settings: Any,
) -> Supervisor:
    """Return a supervisor of these children, with changed limits and settings."""
    changed = jobs.settings.model_copy(update=settings)
    return Supervisor(
        changed,
        jobs.sessions,
        jobs.store,
        stopping,
        starter=ScriptedStarter(child) if callable(child) else child,
        limits=replace(Limits.of(changed), **limits or {}),
        timing=timing or fast(),
    )


def run(jobs: Jobs, child: Script | ChildStarter, job_id: str | None = None, **options: Any) -> Job:
    """Run a job, by default a new one, once; return its row."""
    job_id = job_id or jobs.submit()
    supervisor(jobs, child, **options).run(job_id)
    return jobs.get(job_id)
