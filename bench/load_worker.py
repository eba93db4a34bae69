"""A worker whose jobs take a second and no processor time: `celery -A bench.load_worker worker -Q cpu`.

It claims and publishes like the real worker, but pauses instead of encoding, so that only the service causes load.
"""

import time
from datetime import timedelta

from app.db.engine import create_sessions
from app.jobs.broker import RUN_JOB, create_celery
from app.jobs.repository import JobRepository
from app.settings import Settings

_SECONDS = 1.0
_LEASE = timedelta(seconds=60)

settings = Settings()
sessions = create_sessions(settings)
celery = create_celery(settings)


@celery.task(name=RUN_JOB)  # type: ignore[untyped-decorator] # Celery has no annotations
def run_job(job_id: str) -> None:
    """Claim the job, wait a second, and report success."""
    with sessions.begin() as session:
        claim = JobRepository(session).claim(job_id, _LEASE)
    if claim is not None:
        time.sleep(_SECONDS)
        artifacts = {"encoding.nern": {"bytes": 0, "sha256": claim.checkpoint_sha256}}
        with sessions.begin() as session:
            JobRepository(session).succeed(claim, _METRICS, artifacts)


_METRICS = {
    "source_bytes": 1,
    "file_bytes": 1,
    "predictor_bytes": 1,
    "permutation_bytes": 0,
    "integer_bytes": 0,
    "kept_bytes": 0,
    "ratio": 1.0,
    "relative_error": 0.0,
    "original_accuracy": None,
    "reconstructed_accuracy": None,
    "seconds": {"total": _SECONDS},
}
