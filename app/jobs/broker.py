"""Celery as this service uses it: a message is a job's id, and only wakes a worker.

Messages are acknowledged on arrival and not prefetched, and results are not kept, because the row holds everything.
Embedded mode and production differ only in the broker's URL.
"""

from typing import Any

from celery import Celery
from kombu.transport import TRANSPORT_ALIASES

from app.settings import FILESYSTEM_BROKER, Settings

RUN_JOB = "worker.run_job"
_SECONDS_TO_ANSWER = 5


def create_celery(settings: Settings) -> Celery:
    """Create the Celery app, for the sender and for the worker."""
    celery = Celery("nern", broker=settings.broker_url)
    celery.conf.update(
        accept_content=["json"],
        task_serializer="json",
        task_acks_late=False,
        task_reject_on_worker_lost=False,
        task_ignore_result=True,
        task_default_queue="cpu",
        # One job at a time in the worker's own process, which only supervises: the child computes.
        worker_pool="solo",
        worker_concurrency=1,
        worker_prefetch_multiplier=1,
        worker_enable_remote_control=False,
        worker_send_task_events=False,
        worker_hijack_root_logger=False,
        worker_redirect_stdouts=False,
        worker_cancel_long_running_tasks_on_connection_loss=False,
        broker_connection_timeout=_SECONDS_TO_ANSWER,
        broker_connection_retry_on_startup=True,
        broker_connection_max_retries=None,
        broker_transport_options=_transport_options(settings),
    )
    return celery


def announce(celery: Celery, job_id: str, device: str) -> None:
    """Announce a job to the broker. Raises kombu's `OperationalError` if it does not answer in time."""
    celery.send_task(RUN_JOB, args=[job_id], queue=device, retry=False)


def _transport_options(settings: Settings) -> dict[str, Any]:
    if settings.broker_url == FILESYSTEM_BROKER:
        TRANSPORT_ALIASES["filesystem"] = "app.jobs.folder_transport:Transport"
        folders = {
            "data": settings.data_dir / "broker" / "messages",
            "control": settings.data_dir / "broker" / "control",
        }
        for folder in folders.values():
            folder.mkdir(parents=True, exist_ok=True)
        return {
            "data_folder_in": str(folders["data"]),
            "data_folder_out": str(folders["data"]),
            "control_folder": str(folders["control"]),
            "store_processed": False,
        }
    return {
        "visibility_timeout": 3600,
        "socket_timeout": _SECONDS_TO_ANSWER,
        "socket_connect_timeout": _SECONDS_TO_ANSWER,
        "socket_keepalive": True,
        "retry_on_timeout": True,
        "health_check_interval": 25,
        "global_keyprefix": settings.broker_prefix,
    }
