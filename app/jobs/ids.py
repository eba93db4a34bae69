"""Job ids: creation, validation, and the problem for an unknown id."""

import re
from http import HTTPStatus

import uuid_utils

from app.kit.problems import Problem
from nern_core.contract.errors import quoted

JOB_ID_PATTERN = r"^job_[0-9a-f]{1,36}$"
_JOB_ID = re.compile(JOB_ID_PATTERN)


def new_job_id() -> str:
    """Make an id; later ones sort after earlier ones."""
    return f"job_{uuid_utils.uuid7().hex}"


def is_job_id(text: str) -> bool:
    """Return whether a text has the form of a job id, and so may be part of a query or a path."""
    return _JOB_ID.fullmatch(text) is not None


def unknown_job(job_id: str) -> Problem:
    """Return the problem for an id that no job of the caller has."""
    detail = f"There is no job {quoted(job_id)}; GET /jobs (`nern jobs list`) lists all ids."
    return Problem(HTTPStatus.NOT_FOUND, "unknown-job", detail)
