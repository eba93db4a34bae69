"""Download a result: received bytes survive a lost connection, and the digest of the whole file is checked."""

import os
from dataclasses import replace
from pathlib import Path

from nern_client.effects import Answer, Operation, Request, Work
from nern_client.errors import DigestMismatch, NernClientError, NoSuchArtifact, ServerUnreachable
from nern_client.job_operations import get
from nern_client.models import Artifact, Job
from nern_client.partial_file import PartialFile
from nern_client.retries import Attempts, Session, error_of, exchange

_ELSEWHERE = 307


def download(session: Session, job_id: str, name: str, path: str | os.PathLike[str]) -> Operation[Path]:
    """Download a result of a job into a file, which appears once it is complete."""
    job = yield from get(session, job_id)
    artifact = _artifact_of(job, name)
    # A symbolic link is kept: its target is replaced.
    partial = PartialFile(Path(os.path.realpath(path)), artifact.bytes, artifact.sha256)
    resumed: bool = yield Work(partial.open)
    try:
        yield from _fill(session, artifact, partial)
        if resumed and not (yield Work(partial.is_right)):
            # The partial file of an earlier call may have been damaged since.
            partial.begin_anew()
            yield from _fill(session, artifact, partial)
        yield Work(partial.publish)
    except (DigestMismatch, OSError):
        # Free the space again, in case the disk is full.
        partial.remove()
        raise
    finally:
        partial.close()
    return Path(path)


def _fill(session: Session, artifact: Artifact, partial: PartialFile) -> Operation[None]:
    attempts = Attempts(session)
    while partial.size < artifact.bytes:
        before = partial.size
        request = Request(method="GET", path=artifact.url, headers=partial.headers, sink=partial, repeatable=True)
        try:
            yield from _fetch(session, request)
            error: NernClientError = ServerUnreachable(f"{session.url} closed the connection too early.")
        except NernClientError as broken:
            error = broken
        if partial.size > before:
            attempts.went_on()
        if partial.size < artifact.bytes:
            if not error.temporary:
                raise error
            yield attempts.after(error)


def _fetch(session: Session, request: Request) -> Operation[Answer]:
    """Request bytes and follow a redirect to another host.

    Raises `ApiError`, `ServerUnreachable` and `UnexpectedAnswer`.
    """
    answer = yield from exchange(session, request)
    if answer.status == _ELSEWHERE and "location" in answer.headers:
        # The other host has its own entity tag for the same file; the digest verifies that it is the same.
        headers = {name: value for name, value in request.headers.items() if name != "If-Range"}
        address = answer.headers["location"]
        answer = yield from exchange(session, replace(request, path=address, headers=headers, elsewhere=True))
        if not answer.succeeded:
            raise error_of(answer, session.url, elsewhere=True)
    if not answer.succeeded:
        raise error_of(answer, session.url)
    return answer


def _artifact_of(job: Job, name: str) -> Artifact:
    """Return the result with this name. Raises `NoSuchArtifact`."""
    if name in job.artifacts:
        return job.artifacts[name]
    if job.data_removed:
        raise NoSuchArtifact(f"The results of {job.id} have expired; submit the job again.")
    if not job.artifacts:
        raise NoSuchArtifact(f"The job {job.id} has no results: it is {job.status}. {job.message}")
    raise NoSuchArtifact(f"The job {job.id} has no result {name}; it has {', '.join(sorted(job.artifacts))}.")
