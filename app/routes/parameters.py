"""The parameters that routes share: texts from requests, checked before they reach a query, a path or a log.

What names a thing by a text that no such thing can have is answered as what does not exist: 404.
"""

import re
from typing import Annotated

from fastapi import Path, Query
from pydantic import AfterValidator, Field

from app.datasets.service import NAME_PATTERN
from app.jobs.ids import JOB_ID_PATTERN, is_job_id, unknown_job
from app.uploads.digests import SHA256_PATTERN

# A position in the order of all ids, whether or not that job is still there: a UUID of version 7.
_CURSOR_PATTERN = r"^job_[0-9a-f]{12}7[0-9a-f]{3}[89ab][0-9a-f]{15}$"
_UPLOAD_ID_PATTERN = r"^upload_[0-9a-f]{32}$"
_ARTIFACT_PATTERN = r"^[a-z0-9.-]{1,64}$"


def _require_job_id(text: str) -> str:
    """Raise `Problem` (`unknown-job`) for what cannot be the id of a job."""
    if not is_job_id(text):
        raise unknown_job()
    return text


def _require_cursor(text: str) -> str:
    """Raise `ValueError` for what no page has given as `next_cursor`."""
    if not re.fullmatch(_CURSOR_PATTERN, text):
        raise ValueError("this is no cursor; give `next_cursor` of the page before, or none for the first page")
    return text


JobId = Annotated[
    str,
    Path(description="Id of a job.", json_schema_extra={"pattern": JOB_ID_PATTERN}),
    AfterValidator(_require_job_id),
]
# The job whose options the form starts with.
LikeJobId = Annotated[str | None, Query(pattern=JOB_ID_PATTERN)]
Cursor = Annotated[
    Annotated[str, AfterValidator(_require_cursor), Field(json_schema_extra={"pattern": _CURSOR_PATTERN})] | None,
    Query(description="`next_cursor` of the page before; no other value will do."),
]
Sha256 = Annotated[str, Path(pattern=SHA256_PATTERN, description="SHA-256 in hexadecimal digits.")]
UploadId = Annotated[str, Path(pattern=_UPLOAD_ID_PATTERN, description="Id of an upload in pieces.")]
DatasetName = Annotated[str, Path(pattern=NAME_PATTERN, description="Name of an uploaded data set.")]
NewDatasetName = Annotated[
    str, Query(pattern=NAME_PATTERN, description="What the option `dataset` of a job will name.")
]
ArtifactName = Annotated[str, Path(description="Name of a result.", json_schema_extra={"pattern": _ARTIFACT_PATTERN})]
