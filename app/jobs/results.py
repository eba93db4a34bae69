"""The results of a job, and the reasons why it has none."""

from collections.abc import Collection, Sequence
from http import HTTPStatus
from typing import Final

from app.jobs.kinds import JobKind
from app.jobs.models import TERMINAL, Job, JobStatus
from app.kit.problems import Problem
from app.storage import StoredArtifact
from app.storage.artifacts import is_described
from nern_core.contract.errors import quoted

_EXPIRED: Final = "The results have expired and were removed; submit the job again."


def result_of(job: Job, name: str, needs: Sequence[str] = ()) -> StoredArtifact:
    """Find a result that only jobs with all options in `needs` have.

    Raises `Problem` (`not-asked-for`, `no-results`, `results-expired`, `no-such-result`).
    """
    status, error, artifacts = job.status, job.error_message, job.artifacts or {}
    encodes = job.kind == JobKind.ENCODING
    missing = [option for option in needs if encodes and not (job.options or {}).get(option)]
    if missing:
        raise Problem(HTTPStatus.NOT_FOUND, "not-asked-for", _how_to_ask(missing))
    if status != JobStatus.SUCCEEDED:
        raise Problem(HTTPStatus.CONFLICT, "no-results", _why_no_results(status, error))
    if job.data_removed:
        raise Problem(HTTPStatus.GONE, "results-expired", _EXPIRED)
    if not is_described(artifacts.get(name)):
        raise Problem(HTTPStatus.NOT_FOUND, "no-such-result", _no_such_result(name, artifacts))
    return StoredArtifact.of(artifacts[name])


def _no_such_result(name: str, artifacts: Collection[str]) -> str:
    there_are = f"its results are {', '.join(sorted(artifacts))}" if artifacts else "it has none"
    return f"The job has no result named {quoted(name)}; {there_are}."


def _how_to_ask(missing: Sequence[str]) -> str:
    options = " and ".join(f"`{option}`" for option in missing)
    return f"This result was not requested: submit the checkpoint again with the option {options}."


def _why_no_results(status: str, error: str | None) -> str:
    if status == JobStatus.FAILED:
        return f"The job has failed and has no results: {error}"
    if status in TERMINAL:
        return "The job was canceled and has no results; submit it again."
    return f"The job is {status}; its results are available once it has succeeded."
