"""Sign in with an API key, and sign out, if the service needs keys."""

import re
from http import HTTPStatus
from typing import Annotated
from urllib.parse import parse_qs

from fastapi import APIRouter, Query, Request
from starlette.concurrency import run_in_threadpool
from starlette.responses import RedirectResponse, Response

from app.access.browser import refuse_foreign, sign_in, sign_out
from app.http.body import read_small_body
from app.kit.problems import Problem
from app.pages.page_route import PageRoute
from app.pages.rendering import render
from app.services import RequestServices

_LARGEST_FORM = 8192
# A path of this service. Browsers treat `//host` and `/\host` as other hosts, and drop tabs and line ends.
_OWN_PATH = re.compile(r"/(?![/\\])[!-~]*")

router = APIRouter(include_in_schema=False, route_class=PageRoute)


@router.get("/sign-in")
async def ask_for_key(request: Request, wanted: Annotated[str, Query(alias="next")] = "/") -> Response:
    """Show the form for the key, which then leads to the requested page."""
    return render(request, "sign_in.html", {"refusal": None, "next_page": own_path(wanted)})


@router.post("/sign-in")
async def take_key(request: Request, services: RequestServices) -> Response:
    """Sign in and redirect to the requested page, or show the form again."""
    refuse_foreign(request, "Sign in on this service's own page.")
    form = parse_qs((await read_small_body(request, _LARGEST_FORM)).decode("utf-8", "replace"))
    key, next_page = form.get("key", [""])[0].strip(), own_path(form.get("next", ["/"])[0])
    try:
        await run_in_threadpool(services.keys.authenticate, key)
    except Problem as problem:
        context = {"refusal": problem.details.detail, "next_page": next_page}
        return render(request, "sign_in.html", context, HTTPStatus(problem.details.status))
    answer = RedirectResponse(next_page, HTTPStatus.SEE_OTHER)
    sign_in(answer, request, key)
    return answer


@router.post("/sign-out")
async def forget_key(request: Request) -> Response:
    """Sign out."""
    refuse_foreign(request, "Sign out on this service's own page.")
    answer = RedirectResponse("/sign-in", HTTPStatus.SEE_OTHER)
    sign_out(answer)
    return answer


def own_path(text: str) -> str:
    """Return a path of this service unchanged, with its query; `/` for any other text."""
    return text if _OWN_PATH.fullmatch(text) else "/"
