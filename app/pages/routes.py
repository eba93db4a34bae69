"""The addresses of the pages."""

from http import HTTPStatus
from pathlib import Path
from typing import Annotated

from fastapi import APIRouter, Query, Request
from starlette.concurrency import run_in_threadpool
from starlette.responses import FileResponse, HTMLResponse, Response

from app.jobs.models import JobStatus
from app.pages.page_route import PageRoute
from app.pages.rendering import render
from app.problems import Problem
from app.routes.jobs import Jobs
from nern_core.options import Device, EncodeOptions, Permutation, RecipeName

_ASSETS = Path(__file__).parent / "assets"
# Their names tell the version, or the page asks for them with it.
_KEPT = {"Cache-Control": "public, max-age=86400"}
_JOBS_ON_A_PAGE = 25

router = APIRouter(include_in_schema=False, route_class=PageRoute)


@router.get("/")
async def list_jobs(
    request: Request,
    jobs: Jobs,
    status: JobStatus | None = None,
    cursor: Annotated[str | None, Query(max_length=40)] = None,
) -> HTMLResponse:
    """All jobs, newest first."""
    page = await run_in_threadpool(lambda: jobs.page(status=status, cursor=cursor, limit=_JOBS_ON_A_PAGE))
    return render(request, "jobs.html", {"page": page, "status": status, "cursor": cursor, "statuses": list(JobStatus)})


@router.get("/new")
async def new_job(
    request: Request, jobs: Jobs, like: Annotated[str | None, Query(max_length=40)] = None
) -> HTMLResponse:
    """A form for a new job, with the options of another one if asked for."""
    options = EncodeOptions() if like is None else (await jobs.look(like)).options
    choices = {"recipes": list(RecipeName), "permutations": list(Permutation), "devices": list(Device)}
    return render(request, "new.html", {"options": options, "fields": EncodeOptions.model_fields, **choices})


@router.get("/view/{job_id}")
async def show_job(request: Request, job_id: str, jobs: Jobs) -> HTMLResponse:
    """One job, live."""
    return render(request, "job.html", {"job": await jobs.look(job_id)})


@router.get("/assets/{name}")
async def get_asset(name: str) -> Response:
    """A style or a script of these pages."""
    found = {path.name: path for path in _ASSETS.iterdir()}.get(name)
    if found is None:
        raise Problem(HTTPStatus.NOT_FOUND, "unknown-asset", "The pages have no such file.")
    return FileResponse(found, headers=_KEPT)
