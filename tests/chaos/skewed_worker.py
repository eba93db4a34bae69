"""The worker on a machine with a wrong clock: `celery -A tests.chaos.skewed_worker worker`."""

from tests.chaos.skewed_clock import skew_clock
from worker.celery_app import celery

__all__ = ["celery"]

skew_clock()
