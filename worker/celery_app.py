"""Entry of the worker: `celery -A worker.celery_app worker -Q cpu` (or `-Q gpu`).

The Celery process never imports torch: it waits, claims jobs, and supervises a child process.
"""

from functools import cache
from importlib.util import find_spec

import structlog
from celery.signals import setup_logging, worker_init, worker_shutdown, worker_shutting_down
from celery.worker import state

from app.db.engine import create_sessions
from app.db.schema import require_schema
from app.jobs.broker import RUN_JOB, create_celery
from app.logs import configure_logging
from app.settings import Settings
from app.storage import check_storage, open_store
from app.tracing import create_tracer
from nern_core.contract.errors import NernError
from worker.last_resort import LastResort
from worker.supervisor import Supervisor

_log = structlog.get_logger()
settings = Settings()
check_storage(settings)
celery = create_celery(settings)
tracer = create_tracer(settings, "worker")
last_resort = LastResort()


@setup_logging.connect  # type: ignore[untyped-decorator] # Celery has no annotations
def set_up_logging(loglevel: int, **_: object) -> None:
    """Configure logging as in the API; Celery does not configure it if this signal has a handler."""
    configure_logging(loglevel)


@worker_shutting_down.connect  # type: ignore[untyped-decorator] # Celery has no annotations
def exit_in_any_case(**_: object) -> None:
    """Exit soon after the job was given back, even if the broker does not answer."""
    last_resort.stop()


@worker_shutdown.connect  # type: ignore[untyped-decorator] # Celery has no annotations
def tell_last_spans(**_: object) -> None:
    """Send the remaining spans to the collector."""
    tracer.stop()


@worker_init.connect  # type: ignore[untyped-decorator] # Celery has no annotations
def check_runner(**_: object) -> None:
    """Refuse to start if the runner could not import what it needs, because every job would fail."""
    if find_spec("torch") is None:
        raise SystemExit("nern: A worker needs the extra encode: pip install 'nern[encode]'")


@worker_init.connect  # type: ignore[untyped-decorator] # Celery has no annotations
def check_database(**_: object) -> None:
    """Refuse to start if the database needs a migration. An unreachable database may come back."""
    try:
        require_schema(settings, or_later=True)
    except NernError as error:
        if error.code != "no_database":
            # Not an `Exception`, which Celery would log and ignore.
            raise SystemExit(f"nern: {error.message}") from None
        _log.warning("database_unreachable", error=error.message)


@celery.task(name=RUN_JOB)  # type: ignore[untyped-decorator] # Celery has no annotations
def run_job(job_id: str) -> None:
    """Run the job if it is still queued; its row decides, the message only wakes the worker."""
    with last_resort.working():
        _supervisor().run(job_id)


@cache
def _supervisor() -> Supervisor:
    """Create the supervisor at the first message, so that a starting worker only connects to the broker."""
    store = open_store(settings)
    return Supervisor(settings, create_sessions(settings), store, _stopping, tracer)


def _stopping() -> bool:
    """Return true while Celery shuts down after SIGTERM or Ctrl-C."""
    return state.should_stop is not None or state.should_terminate is not None
