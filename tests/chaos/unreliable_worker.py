"""The worker on a database that loses answers: `celery -A tests.chaos.unreliable_worker worker`."""

from tests.chaos.unreliable_commits import lose_answers
from worker.celery_app import celery

__all__ = ["celery"]

lose_answers()
