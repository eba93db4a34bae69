"""Sign in with an API key, and out again; only where the service needs keys."""

from http import HTTPStatus
from urllib.parse import parse_qs

from fastapi import APIRouter, Request
from starlette.concurrency import run_in_threadpool
from starlette.responses import RedirectResponse, Response

from app.access.browser import refuse_foreign, sign_in, sign_out
from app.access.service import ApiKeyService
from app.body import read_small_body
from app.pages.page_route import PageRoute
from app.pages.rendering import render
from app.problems import Problem

_LARGEST_FORM = 4096

router = APIRouter(include_in_schema=False, route_class=PageRoute)


@router.get("/sign-in")
async def ask_for_key(request: Request) -> Response:
    """A form for the key."""
    return render(request, "sign_in.html", {"refusal": None})


@router.post("/sign-in")
async def take_key(request: Request) -> Response:
    """Signs in, or asks again."""
    refuse_foreign(request, "Sign in on this service's own page.")
    form = parse_qs((await read_small_body(request, _LARGEST_FORM)).decode("utf-8", "replace"))
    key = form.get("key", [""])[0].strip()
    keys: ApiKeyService = request.app.state.keys
    try:
        await run_in_threadpool(keys.authenticate, key)
    except Problem as problem:
        return render(request, "sign_in.html", {"refusal": problem.details.detail}, HTTPStatus(problem.details.status))
    answer = RedirectResponse("/", HTTPStatus.SEE_OTHER)
    sign_in(answer, request, key)
    return answer


@router.post("/sign-out")
async def forget_key(request: Request) -> Response:
    """Signs out."""
    refuse_foreign(request, "Sign out on this service's own page.")
    answer = RedirectResponse("/sign-in", HTTPStatus.SEE_OTHER)
    sign_out(answer)
    return answer
