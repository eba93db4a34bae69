"""Entry of the worker: `celery -A worker.celery_app worker -Q cpu` (or `-Q gpu`).

The process that Celery runs never imports torch: it waits, claims, and supervises a child.
"""

from functools import cache

import structlog
from celery.signals import setup_logging, worker_init, worker_shutdown
from celery.worker import state

from app.database import create_sessions
from app.jobs.broker import RUN_JOB, create_celery
from app.logs import configure_logging
from app.schema import require_schema
from app.settings import Settings
from app.storage import check_storage, open_store
from app.tracing import create_tracer
from nern_core.errors import NernError
from worker.supervisor import Supervisor

_log = structlog.get_logger()
settings = Settings()
check_storage(settings)
celery = create_celery(settings)
tracer = create_tracer(settings, "worker")


@setup_logging.connect  # type: ignore[untyped-decorator] # Celery has no annotations
def set_up_logging(loglevel: int, **_: object) -> None:
    """Log as the API does; Celery leaves it to whoever listens to this signal."""
    configure_logging(loglevel)


@worker_shutdown.connect  # type: ignore[untyped-decorator] # Celery has no annotations
def tell_last_spans(**_: object) -> None:
    """Tell a collector of what has happened until now."""
    tracer.stop()


@worker_init.connect  # type: ignore[untyped-decorator] # Celery has no annotations
def check_database(**_: object) -> None:
    """Refuse to start on a database that has to be migrated. One that is away for now may come back."""
    try:
        require_schema(settings, or_later=True)
    except NernError as error:
        if error.code != "no_database":
            # No `Exception`, which Celery would log and forget.
            raise SystemExit(f"nern: {error.message}") from None
        _log.warning("database_unreachable", error=error.message)


@celery.task(name=RUN_JOB)  # type: ignore[untyped-decorator] # Celery has no annotations
def run_job(job_id: str) -> None:
    """Run the job if it is still queued; the row decides, a message only wakes the worker."""
    _supervisor().run(job_id)


@cache
def _supervisor() -> Supervisor:
    """Made at the first message, so that starting a worker connects to nothing but the broker."""
    store = open_store(settings)
    return Supervisor(settings, create_sessions(settings), store, _stopping, tracer)


def _stopping() -> bool:
    """Return whether Celery is stopping, after SIGTERM or Ctrl-C."""
    return state.should_stop is not None or state.should_terminate is not None
