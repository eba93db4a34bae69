"""Download the results of jobs, whole or in part."""

from enum import StrEnum
from http import HTTPStatus
from typing import Annotated, Any

from fastapi import Depends, Query, Request, Response
from fastapi.responses import FileResponse

from app.http.downloads import Download
from app.http.problem_answers import describe
from app.routes.jobs import Jobs, jobs_router
from app.routes.parameters import ArtifactName, JobId
from app.services import RequestServices
from app.storage import ArtifactStore

router = jobs_router()
# Options that a job needs to have these artifacts.
_NEEDS = {
    "importance.json": ("importance",),
    "importance.safetensors": ("importance",),
    "pruning-curve.svg": ("importance", "dataset"),
}


class WeightsFormat(StrEnum):
    """File formats of the reconstructed weights."""

    SAFETENSORS = "safetensors"
    PT = "pt"
    ONNX = "onnx"


class ReportFormat(StrEnum):
    """File formats of the report."""

    JSON = "json"
    HTML = "html"


class ImportanceFormat(StrEnum):
    """Parts of the importance of kernels: the document, all scores, the pruning curve."""

    JSON = "json"
    SAFETENSORS = "safetensors"
    SVG = "svg"


class _Results:
    """Answers requests for results of the caller's jobs."""

    def __init__(self, request: Request, store: ArtifactStore, jobs: Jobs) -> None:
        self._request = request
        self._store = store
        self._jobs = jobs

    def answer(self, job_id: str, name: str) -> Response:
        """Answer the request. Raises `Problem` and `StoreUnavailable`."""
        artifact = self._jobs.artifact(job_id, name, _NEEDS.get(name, ()))
        return Download(artifact, name, f"{job_id}-{name}").answer(self._request, self._store)


async def _results(request: Request, services: RequestServices, jobs: Jobs) -> _Results:
    # A coroutine, because FastAPI sends plain functions to a thread.
    return _Results(request, services.store, jobs)


Results = Annotated[_Results, Depends(_results)]
_RESULTS: dict[str, Any] = {
    "response_class": FileResponse,
    "responses": {
        206: {"description": "The range of bytes that the header `Range` requests."},
        304: {"description": "The file matches `If-None-Match`."},
        307: {"description": "Download the file from `Location`, which is valid for a short time, without a key."},
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
    job_id: JobId,
    results: Results,
    format: Annotated[WeightsFormat, Query(description="File format.")] = WeightsFormat.SAFETENSORS,  # noqa: A002 # the parameter's public name
) -> Response:
    """The reconstructed checkpoint, with the names, shapes and dtypes of the original; `onnx` for ONNX files."""
    return results.answer(job_id, f"weights.{format}")


@router.head("/{job_id}/encoding", include_in_schema=False)
@router.get("/{job_id}/encoding", summary="Download the .nern file", operation_id="get_encoding", **_RESULTS)
def get_encoding(job_id: JobId, results: Results) -> Response:
    """The compact representation; `nern reconstruct` reconstructs the weights from it."""
    return results.answer(job_id, "encoding.nern")


@router.head("/{job_id}/report", include_in_schema=False)
@router.get("/{job_id}/report", summary="Download the report", operation_id="get_report", **_RESULTS)
def get_report(
    job_id: JobId,
    results: Results,
    format: Annotated[ReportFormat, Query(description="A document for programs, or a web page.")] = ReportFormat.JSON,  # noqa: A002 # the parameter's public name
) -> Response:
    """Options, metrics, error of each layer, comparison with other codecs and training curve; the page has plots."""
    return results.answer(job_id, f"report.{format}")


@router.head("/{job_id}/importance", include_in_schema=False)
@router.get("/{job_id}/importance", summary="Download the importance", operation_id="get_importance", **_RESULTS)
def get_importance(
    job_id: JobId,
    results: Results,
    format: Annotated[ImportanceFormat, Query(description="Ranking, all scores, or pruning curve.")] = (  # noqa: A002 # the parameter's public name
        ImportanceFormat.JSON
    ),
) -> Response:
    """Importance of each kernel and filter, for jobs with the option `importance`.

    For other jobs the answer is 404 with the type `not-asked-for`.
    """
    name = "pruning-curve.svg" if format is ImportanceFormat.SVG else f"importance.{format}"
    return results.answer(job_id, name)


@router.head("/{job_id}/artifacts/{name}", include_in_schema=False)
@router.get("/{job_id}/artifacts/{name}", summary="Download any result", operation_id="get_artifact", **_RESULTS)
def get_artifact(job_id: JobId, name: ArtifactName, results: Results) -> Response:
    """The result with this name, as listed in the job's `artifacts`."""
    return results.answer(job_id, name)
