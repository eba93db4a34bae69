"""Routes of the pages."""

from http import HTTPStatus
from importlib.resources import files
from pathlib import Path
from typing import Annotated, Any
from urllib.parse import urlencode

from fastapi import APIRouter, Query, Request
from starlette.responses import FileResponse, HTMLResponse, RedirectResponse, Response

from app.http.request_threads import in_share
from app.jobs.models import JobStatus
from app.jobs.submission.labels import parse_wanted
from app.kit.problems import Problem
from app.pages.page_route import PageRoute
from app.pages.rendering import render
from app.routes.authentication import Tenant
from app.routes.jobs import Jobs
from app.routes.parameters import Cursor, JobId, LikeJobId
from app.services import RequestServices
from nern_core.contract.catalogue import RECIPE_ENTRIES, architectures
from nern_core.contract.options import Device, EncodeOptions, Permutation, Tier, representation_names

_ASSETS = Path(__file__).parent / "assets"
# Safe to cache, because the name or the query contains the version.
_KEPT = {"Cache-Control": "public, max-age=86400"}
_JOBS_ON_A_PAGE = 25
# From a separate package.
_SWAGGER_UI = frozenset({"swagger-ui-bundle.js", "swagger-ui.css"})

router = APIRouter(include_in_schema=False, route_class=PageRoute)


@router.get("/")
async def list_jobs(
    request: Request,
    jobs: Jobs,
    status: Annotated[tuple[JobStatus, ...], Query(max_length=len(JobStatus))] = (),
    label: Annotated[tuple[str, ...], Query(max_length=16)] = (),
    cursor: Cursor = None,
    newer: Cursor = None,
) -> Response:
    """Show the jobs, optionally of a status and with labels, newest first: those after `cursor` or before `newer`."""
    wanted = parse_wanted(label)
    page = await in_share(
        lambda: jobs.page(status=status, labels=wanted, cursor=cursor, newer_than=newer, limit=_JOBS_ON_A_PAGE)
    )

    def address(**changes: str | None) -> str:
        query = {"status": status, "label": label} | changes
        return "/?" + urlencode({name: value for name, value in query.items() if value}, doseq=True)

    if newer is not None and page.next_cursor is None:
        # Fewer jobs than a page holds: the list begins with them.
        return RedirectResponse(address(), HTTPStatus.SEE_OTHER)
    context = {"page": page, "status": status, "labels": label, "statuses": list(JobStatus)}
    context |= {"cursor": cursor, "newer": newer, "address": address}
    return render(request, "jobs.html", context)


@router.get("/new")
async def new_job(
    request: Request, services: RequestServices, jobs: Jobs, tenant: Tenant, like: LikeJobId = None
) -> HTMLResponse:
    """Show the form for a new job, with the options and checkpoint of the job `like`, if given."""
    other = None if like is None else await jobs.look(like)
    options = (None if other is None else other.known_options) or EncodeOptions()
    source = None if other is None or other.data_removed or other.checkpoint is None else other
    choices: dict[str, Any] = {"architectures": architectures(), "recipes": RECIPE_ENTRIES}
    choices |= {"permutations": list(Permutation), "devices": list(Device), "tiers": list(Tier)}
    choices["representations"] = representation_names()
    choices["datasets"] = (await in_share(services.datasets.all, tenant)).items
    return render(request, "new.html", {"options": options, "source": source, **choices})


@router.get("/data")
async def list_datasets(request: Request, services: RequestServices, tenant: Tenant) -> HTMLResponse:
    """Show the data sets your jobs can use, and the form to upload one."""
    found = await in_share(services.datasets.all, tenant)
    return render(request, "datasets.html", {"datasets": found.items, "any_folder": found.any_folder})


@router.get("/view/{job_id}")
async def show_job(request: Request, job_id: JobId, jobs: Jobs) -> HTMLResponse:
    """Show one job, with live updates."""
    return render(request, "job.html", {"job": await jobs.look(job_id)})


@router.get("/docs")
async def show_documentation(request: Request) -> HTMLResponse:
    """Show the API's description, /openapi.json, in Swagger UI."""
    return render(request, "docs.html", {})


@router.get("/assets/{name}")
async def get_asset(name: str, v: str = "") -> Response:  # `v` only makes browsers fetch a new version
    """Return a style or script of these pages."""
    found = {path.name: path for path in _ASSETS.iterdir()}.get(name)
    if name in _SWAGGER_UI:
        found = Path(str(files("fastapi_offline"))) / "static" / name
    if found is None:
        raise Problem(HTTPStatus.NOT_FOUND, "unknown-asset", "There is no such asset.")
    return FileResponse(found, headers=_KEPT)
