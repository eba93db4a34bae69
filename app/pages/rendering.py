"""Renders templates: all text is escaped, and a page runs only its own scripts."""

from collections.abc import Mapping
from http import HTTPStatus
from importlib.metadata import version
from typing import Any

from fastapi import Request
from jinja2 import Environment, PackageLoader, StrictUndefined
from starlette.responses import HTMLResponse

from app.access.browser import COOKIE
from app.pages import options_in_words, presentation
from app.services import services_of

_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; "
    "frame-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
)
_FILTERS = {
    "size": presentation.size,
    "figure": presentation.figure,
    "duration": presentation.duration,
    "moment": presentation.moment,
    "count": "{:,}".format,
    "percent": "{:.2f} %".format,
    "plain": options_in_words.plain,
    "in_words": options_in_words.in_words,
}


def _environment() -> Environment:
    environment = Environment(
        loader=PackageLoader("app.pages"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= _FILTERS
    environment.globals |= {"words": presentation, "option": options_in_words, "version": version("nern")}
    return environment


_TEMPLATES = _environment()


def render(
    request: Request, template: str, context: Mapping[str, Any], status: HTTPStatus = HTTPStatus.OK
) -> HTMLResponse:
    """Render a template to a response."""
    with_keys = services_of(request).settings.keys_required
    is_signed_in = with_keys and COOKIE in request.cookies
    page = _TEMPLATES.get_template(template).render(with_keys=with_keys, is_signed_in=is_signed_in, **context)
    return HTMLResponse(page, status, headers={"Content-Security-Policy": _POLICY})
