"""A client of the NeRN service: submit checkpoints, follow jobs, download results.

It does not need torch or the packages of the service.
"""

from nern_client.async_client import AsyncClient
from nern_client.client import Client
from nern_client.errors import (
    ApiError,
    Conflict,
    DigestMismatch,
    FieldProblem,
    FileChanged,
    InvalidRequest,
    JobCanceled,
    JobFailed,
    JobNotSucceeded,
    NernClientError,
    NoSuchArtifact,
    NotAuthorized,
    NotFound,
    Problem,
    ServerError,
    ServerUnreachable,
    TooManyRequests,
    UnexpectedAnswer,
    WaitTimeout,
)
from nern_client.models import Artifact, Checkpoint, Dataset, Job, JobError, JobEvent, JobStatus, Progress, Split
from nern_client.options import EncodeOptions
from nern_client.retries import Retries

__all__ = [
    "ApiError",
    "Artifact",
    "AsyncClient",
    "Checkpoint",
    "Client",
    "Conflict",
    "Dataset",
    "DigestMismatch",
    "EncodeOptions",
    "FieldProblem",
    "FileChanged",
    "InvalidRequest",
    "Job",
    "JobCanceled",
    "JobError",
    "JobEvent",
    "JobFailed",
    "JobNotSucceeded",
    "JobStatus",
    "NernClientError",
    "NoSuchArtifact",
    "NotAuthorized",
    "NotFound",
    "Problem",
    "Progress",
    "Retries",
    "ServerError",
    "ServerUnreachable",
    "Split",
    "TooManyRequests",
    "UnexpectedAnswer",
    "WaitTimeout",
]
