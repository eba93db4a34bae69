"""Download the results of jobs, whole or in part."""

from enum import StrEnum
from http import HTTPStatus
from typing import Annotated, Any

from fastapi import Depends, Query, Request, Response
from fastapi.responses import FileResponse

from app.delivery import Delivery
from app.problems import describe
from app.routes.jobs import Jobs, jobs_router
from app.routes.parameters import ArtifactName, JobId
from app.storage import ArtifactStore

router = jobs_router()
# Artifacts that only some jobs have, and the options of those.
_NEEDS = {
    "importance.json": ("importance",),
    "importance.safetensors": ("importance",),
    "pruning-curve.svg": ("importance", "dataset"),
}


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


class _Results:
    """Answers requests for results of the caller's jobs."""

    def __init__(self, request: Request, jobs: Jobs) -> None:
        self._request = request
        self._jobs = jobs

    def answer(self, job_id: str, name: str) -> Response:
        """The answer. Raises `Problem` and `StoreUnavailable`."""
        store: ArtifactStore = self._request.app.state.store
        artifact = self._jobs.artifact(job_id, name, _NEEDS.get(name, ()))
        return Delivery(artifact, name, f"{job_id}-{name}").answer(self._request, store)


async def _results(request: Request, jobs: Jobs) -> _Results:
    # A coroutine, because FastAPI sends plain functions to a thread.
    return _Results(request, jobs)


Results = Annotated[_Results, Depends(_results)]
_RESULTS: dict[str, Any] = {
    "response_class": FileResponse,
    "responses": {
        206: {"description": "The range of bytes that the header `Range` asks for."},
        304: {"description": "It is what `If-None-Match` names."},
        307: {"description": "It is at the address in `Location`, for a short while and without a key."},
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
    """The reconstructed checkpoint: names, shapes and dtypes of the original."""
    return results.answer(job_id, f"weights.{format}")


@router.head("/{job_id}/encoding", include_in_schema=False)
@router.get("/{job_id}/encoding", summary="Download the .nern file", operation_id="get_encoding", **_RESULTS)
def get_encoding(job_id: JobId, results: Results) -> Response:
    """The neural representation; `nern reconstruct` turns it into the weights."""
    return results.answer(job_id, "encoding.nern")


@router.head("/{job_id}/report", include_in_schema=False)
@router.get("/{job_id}/report", summary="Download the report", operation_id="get_report", **_RESULTS)
def get_report(
    job_id: JobId,
    results: Results,
    format: Annotated[ReportFormat, Query(description="Figures, or a page to look at.")] = ReportFormat.JSON,  # noqa: A002 # the parameter's public name
) -> Response:
    """Options, metrics, the error of every layer, other codecs and the training curve; as a page with pictures too."""
    return results.answer(job_id, f"report.{format}")


@router.head("/{job_id}/importance", include_in_schema=False)
@router.get("/{job_id}/importance", summary="Download the importance", operation_id="get_importance", **_RESULTS)
def get_importance(
    job_id: JobId,
    results: Results,
    format: Annotated[ImportanceFormat, Query(description="The ranking, all scores, or the pruning curve.")] = (  # noqa: A002 # the parameter's public name
        ImportanceFormat.JSON
    ),
) -> Response:
    """How important each kernel and filter is, if the job was asked for it with the option `importance`.

    A job that was not is answered with 404 and the type `not-asked-for`.
    """
    name = "pruning-curve.svg" if format is ImportanceFormat.SVG else f"importance.{format}"
    return results.answer(job_id, name)


@router.head("/{job_id}/artifacts/{name}", include_in_schema=False)
@router.get("/{job_id}/artifacts/{name}", summary="Download any result", operation_id="get_artifact", **_RESULTS)
def get_artifact(job_id: JobId, name: ArtifactName, results: Results) -> Response:
    """The result of this name, as the job lists it under `artifacts`."""
    return results.answer(job_id, name)
