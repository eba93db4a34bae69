from datetime import timedelta

from app.jobs.models import Job, JobStatus
from app.jobs.repository import JobRepository, NewJob
from tests.worker.conftest import Jobs
from tests.worker.scripted_child import succeed
from tests.worker.supervision import supervisor


def test_a_worker_does_the_job_whose_turn_it_is_and_leaves_the_other_queued(embedded_jobs: Jobs) -> None:
    """The store has no checkpoints, so each attempt ends at once."""
    tenants = {"job_1": "acme", "job_2": "acme", "job_3": "rival"}
    with embedded_jobs.sessions.begin() as session:
        repository = JobRepository(session)
        for job_id, tenant in tenants.items():
            new = NewJob(
                id=job_id, tenant=tenant, device="cpu", options={}, checkpoint_sha256="c" * 64, checkpoint_bytes=5
            )
            repository.add(new)
        assert repository.claim("job_1", timedelta(minutes=1)) is not None
    supervisor(embedded_jobs, succeed).run("job_2")
    with embedded_jobs.sessions.begin() as session:
        statuses = {job_id: session.get_one(Job, job_id).status for job_id in tenants}
    assert statuses == {"job_1": JobStatus.RUNNING, "job_2": JobStatus.QUEUED, "job_3": JobStatus.FAILED}
