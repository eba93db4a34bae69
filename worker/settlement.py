"""Write the outcome of an attempt into the row of its job."""

import structlog
from sqlalchemy import select
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.orm import Session

from app.accounting.discards import DiscardRepository, Discards, begin_to_use
from app.db.transactions import Sessions, is_refused, transact
from app.jobs.accounts import ACCOUNTS
from app.jobs.models import Job, JobStatus
from app.jobs.repository import JobRepository
from app.jobs.transitions import Claim
from app.storage import ArtifactMissing, ArtifactStore, StoreUnavailable
from worker.heartbeat import Heartbeat, LeaseState
from worker.outcome import (
    RESULTS_REMOVED,
    Completed,
    Failed,
    Killed,
    LeaseLost,
    MachineFault,
    Outcome,
    Stopped,
    results_not_storable,
)
from worker.timing import Timing

_log = structlog.get_logger()
LOST = "lost"


def settle(
    sessions: Sessions,
    store: ArtifactStore,
    claim: Claim,
    heartbeat: Heartbeat,
    outcome: Outcome,
    max_attempts: int,
    timing: Timing,
) -> str:
    """Write the outcome as soon as the database answers, and return the status of the job.

    Returns `LOST` if another worker holds the job now. If the database refuses the results, the job fails; if it
    refuses that too, the job is left to the sweeper. The job is retried if a result was removed from the store
    meanwhile.
    """
    is_refused_before = False
    while heartbeat.lease_state is not LeaseState.LOST:
        try:
            with sessions.begin() as session:
                kept = _kept(session, store, outcome)
                status = _written(JobRepository(session), claim, kept, max_attempts) or LOST
        except StoreUnavailable as error:
            _log.warning("settling_failed", job=claim.job_id, error=repr(error))
            timing.sleep(timing.between_database_retries)
        except (SQLAlchemyError, ValueError, TypeError) as error:
            _log.warning("settling_failed", job=claim.job_id, error=repr(error))
            if not is_refused(error):
                timing.sleep(timing.between_database_retries)
            elif is_refused_before:
                return LOST
            else:
                outcome, is_refused_before = results_not_storable(), True
        else:
            if isinstance(kept, Completed) and status not in {JobStatus.SUCCEEDED, LOST}:
                _discard(sessions, store, claim, kept)
            return status
    return LOST


def _kept(session: Session, store: ArtifactStore, outcome: Outcome) -> Outcome:
    """Keep results for the row of this transaction. Raises `StoreUnavailable`."""
    if not isinstance(outcome, Completed):
        return outcome
    try:
        begin_to_use(session, store, *(artifact["sha256"] for artifact in outcome.artifacts.values()))
    except ArtifactMissing:
        return RESULTS_REMOVED
    return outcome


def _discard(sessions: Sessions, store: ArtifactStore, claim: Claim, completed: Completed) -> None:
    """Remove stored results that the job's row does not name, such as those of a canceled job."""
    files = {artifact["sha256"]: artifact["bytes"] for artifact in completed.artifacts.values()}

    def work(session: Session) -> None:
        tenant = session.scalars(select(Job.tenant).where(Job.id == claim.job_id)).one()
        DiscardRepository(session, ACCOUNTS).add(tenant, files)

    try:
        transact(sessions, work)
    except SQLAlchemyError as error:
        # The collector removes them by their age.
        _log.warning("results_not_discarded", job=claim.job_id, error=repr(error))
    else:
        Discards(sessions, store, ACCOUNTS).remove(sorted(files))


def _written(jobs: JobRepository, claim: Claim, outcome: Outcome, max_attempts: int) -> JobStatus | None:
    """Write the outcome; return the job's status, or None if the job is no longer held."""
    status: JobStatus | None = None
    match outcome:
        case LeaseLost():
            return None
        case Completed(artifacts, metrics):
            status = JobStatus.SUCCEEDED if jobs.succeed(claim, metrics, artifacts) else None
        case Failed(error):
            status = JobStatus.FAILED if jobs.fail(claim, error.code, error.message) else None
        case Killed(error):
            status = jobs.try_again(claim, max_attempts, error.code, error.message)
        case MachineFault():
            status = JobStatus.QUEUED if jobs.release(claim, "machine_fault") else None
        case Stopped():
            status = JobStatus.QUEUED if jobs.release(claim) else None
    if status is None and jobs.confirm_cancel(claim):
        # A job that is being canceled ends as canceled, whatever the outcome.
        return JobStatus.CANCELED
    return status
