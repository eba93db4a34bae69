"""Download the results of jobs, whole or in part."""

import base64
from enum import StrEnum
from http import HTTPStatus
from typing import Annotated, Any

from fastapi import Header, Query, Response
from fastapi.responses import FileResponse
from starlette.responses import MalformedRangeHeader, RangeNotSatisfiable

from app.jobs.service import TenantJobs
from app.problems import Problem, describe
from app.routes.jobs import Jobs, jobs_router

router = jobs_router()
_BINARY = "application/octet-stream"
# By the ending of an artifact's name.
_MEDIA_TYPES = {"json": "application/json", "html": "text/html; charset=utf-8", "svg": "image/svg+xml"}
# Artifacts that only some jobs have, and the options of those.
_NEEDS = {
    "importance.json": ("importance",),
    "importance.safetensors": ("importance",),
    "pruning-curve.svg": ("importance", "dataset"),
}
# The page holds names from strangers' files: nothing in it may run or be fetched, whatever it is.
_PAGE_POLICY = "default-src 'none'; style-src 'unsafe-inline'; img-src data:; frame-ancestors 'self'"


class WeightsFormat(StrEnum):
    """File formats of the reconstructed weights."""

    SAFETENSORS = "safetensors"
    PT = "pt"


class ReportFormat(StrEnum):
    """Forms of the report."""

    JSON = "json"
    HTML = "html"


class ImportanceFormat(StrEnum):
    """Parts of the importance of kernels: the document, all scores, the pruning curve."""

    JSON = "json"
    SAFETENSORS = "safetensors"
    SVG = "svg"


IfNoneMatch = Annotated[str | None, Header(include_in_schema=False)]
_RESULTS: dict[str, Any] = {
    "response_class": FileResponse,
    "responses": {
        206: {"description": "The range of bytes that the header `Range` asks for."},
        304: {"description": "It is what `If-None-Match` names."},
    }
    | describe(
        HTTPStatus.NOT_FOUND,
        HTTPStatus.CONFLICT,
        HTTPStatus.GONE,
        HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE,
        HTTPStatus.INTERNAL_SERVER_ERROR,
    ),
}


@router.head("/{job_id}/weights", include_in_schema=False)
@router.get("/{job_id}/weights", summary="Download the weights", operation_id="get_weights", **_RESULTS)
def get_weights(
    job_id: str,
    jobs: Jobs,
    format: Annotated[WeightsFormat, Query(description="File format.")] = WeightsFormat.SAFETENSORS,  # noqa: A002 # the parameter's public name
    if_none_match: IfNoneMatch = None,
) -> Response:
    """The reconstructed checkpoint: names, shapes and dtypes of the original."""
    return _download(jobs, job_id, f"weights.{format}", if_none_match)


@router.head("/{job_id}/encoding", include_in_schema=False)
@router.get("/{job_id}/encoding", summary="Download the .nern file", operation_id="get_encoding", **_RESULTS)
def get_encoding(job_id: str, jobs: Jobs, if_none_match: IfNoneMatch = None) -> Response:
    """The neural representation; `nern reconstruct` turns it into the weights."""
    return _download(jobs, job_id, "encoding.nern", if_none_match)


@router.head("/{job_id}/report", include_in_schema=False)
@router.get("/{job_id}/report", summary="Download the report", operation_id="get_report", **_RESULTS)
def get_report(
    job_id: str,
    jobs: Jobs,
    format: Annotated[ReportFormat, Query(description="Figures, or a page to look at.")] = ReportFormat.JSON,  # noqa: A002 # the parameter's public name
    if_none_match: IfNoneMatch = None,
) -> Response:
    """Options, metrics, the error of every layer, other codecs and the training curve; as a page with pictures too."""
    return _download(jobs, job_id, f"report.{format}", if_none_match)


@router.head("/{job_id}/importance", include_in_schema=False)
@router.get("/{job_id}/importance", summary="Download the importance", operation_id="get_importance", **_RESULTS)
def get_importance(
    job_id: str,
    jobs: Jobs,
    format: Annotated[ImportanceFormat, Query(description="The ranking, all scores, or the pruning curve.")] = (  # noqa: A002 # the parameter's public name
        ImportanceFormat.JSON
    ),
    if_none_match: IfNoneMatch = None,
) -> Response:
    """How important each kernel and filter is, if the job was asked for it with the option `importance`.

    A job that was not is answered with 404 and the type `not-asked-for`.
    """
    name = "pruning-curve.svg" if format is ImportanceFormat.SVG else f"importance.{format}"
    return _download(jobs, job_id, name, if_none_match)


@router.head("/{job_id}/artifacts/{name}", include_in_schema=False)
@router.get("/{job_id}/artifacts/{name}", summary="Download any result", operation_id="get_artifact", **_RESULTS)
def get_artifact(job_id: str, name: str, jobs: Jobs, if_none_match: IfNoneMatch = None) -> Response:
    """The result of this name, as the job lists it under `artifacts`."""
    return _download(jobs, job_id, name, if_none_match)


class _Download(FileResponse):
    """A file, or one range of it: whoever asks for several, or for something that is no range, gets all of it."""

    max_ranges = 1

    @classmethod
    def _parse_range_header(cls, http_range: str, file_size: int) -> list[tuple[int, int]]:
        """Starlette's own, with a problem where it would answer in plain text."""
        try:
            return super()._parse_range_header(http_range, file_size)
        except MalformedRangeHeader:
            return []
        except RangeNotSatisfiable:
            raise Problem(
                HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE,
                "range-not-satisfiable",
                f"The result has {file_size:,} bytes, and the range begins after them; ask for a part of them.",
                headers={"Content-Range": f"bytes */{file_size}"},
            ) from None


def _download(jobs: TenantJobs, job_id: str, name: str, if_none_match: str | None) -> Response:
    """Send a result with the digest that was published, as its ETag and as RFC 9530's `Repr-Digest`."""
    artifact, path = jobs.artifact(job_id, name, _NEEDS.get(name, ()))
    digest = base64.b64encode(bytes.fromhex(artifact.sha256)).decode()
    headers = {
        "ETag": f'"{artifact.sha256}"',
        "Repr-Digest": f"sha-256=:{digest}:",
        "Cache-Control": "private, immutable",
    }
    if if_none_match is not None and _names(if_none_match, artifact.sha256):
        return Response(status_code=HTTPStatus.NOT_MODIFIED, headers=headers)
    media_type = _MEDIA_TYPES.get(name.rpartition(".")[2], _BINARY)
    answer = _Download(path, media_type=media_type, filename=f"{job_id}-{name}", headers=headers)
    if name.endswith((".html", ".svg")):
        _show_inertly(answer)
    return answer


def _names(if_none_match: str, sha256: str) -> bool:
    """Whether the header names this digest; a weak comparison, as RFC 9110 has it."""
    tags = [tag.strip().removeprefix("W/") for tag in if_none_match.split(",")]
    return "*" in tags or f'"{sha256}"' in tags


def _show_inertly(answer: Response) -> None:
    """Let a browser show a document, in which nothing runs."""
    answer.headers["Content-Security-Policy"] = _PAGE_POLICY
    answer.headers["Content-Disposition"] = "inline"
