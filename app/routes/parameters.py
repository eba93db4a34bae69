"""Parameters that routes share: texts from requests, checked before they reach a query, a path or a log.

An impossible id or name is answered like one that does not exist: 404.
"""

import re
from typing import Annotated

from fastapi import Path, Query
from pydantic import AfterValidator, Field

from app.datasets.service import NAME_PATTERN
from app.http.content_digest import IS_SHA256
from app.jobs.ids import JOB_ID_PATTERN, is_job_id, unknown_job
from app.kit.patterns import Matching

# A position in the order of all ids, also of deleted jobs: a UUID of version 7.
_CURSOR_PATTERN = r"^job_[0-9a-f]{12}7[0-9a-f]{3}[89ab][0-9a-f]{15}$"
_IS_UPLOAD_ID = Matching(
    r"^upload_[0-9a-f]{32}$", "an upload has the id that POST /uploads gives in `Location`, upload_ and 32 digits"
)
_IS_DATASET_NAME = Matching(
    NAME_PATTERN,
    "the name of a data set is 1 to 63 lowercase letters, digits and `._-`; it starts with a letter or a digit",
)
_ARTIFACT_PATTERN = r"^[a-z0-9.-]{1,64}$"


def _require_job_id(text: str) -> str:
    """Raise `Problem` (`unknown-job`) for text that cannot be a job id."""
    if not is_job_id(text):
        raise unknown_job(text)
    return text


def _require_cursor(text: str) -> str:
    """Raise `ValueError` for text that cannot be a `next_cursor`."""
    if not re.fullmatch(_CURSOR_PATTERN, text):
        raise ValueError("this is not a cursor; use `next_cursor` of the previous page, or omit it for the first page")
    return text


JobId = Annotated[
    str,
    Path(description="Id of a job.", json_schema_extra={"pattern": JOB_ID_PATTERN}),
    AfterValidator(_require_job_id),
]
# The job whose options are the form's initial values.
LikeJobId = Annotated[str | None, Query(pattern=JOB_ID_PATTERN)]
Cursor = Annotated[
    Annotated[str, AfterValidator(_require_cursor), Field(json_schema_extra={"pattern": _CURSOR_PATTERN})] | None,
    Query(description="`next_cursor` of the previous page."),
]
Sha256 = Annotated[str, IS_SHA256, Path(description="SHA-256 in hexadecimal digits.")]
UploadId = Annotated[str, _IS_UPLOAD_ID, Path(description="Id of an upload in pieces.")]
DatasetName = Annotated[str, _IS_DATASET_NAME, Path(description="Name of an uploaded data set.")]
NewDatasetName = Annotated[
    str, _IS_DATASET_NAME, Query(description="Name of the data set, for the option `dataset` of jobs.")
]
ArtifactName = Annotated[str, Path(description="Name of a result.", json_schema_extra={"pattern": _ARTIFACT_PATTERN})]
