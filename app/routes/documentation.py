"""The page for people at /docs; the document that it shows is at /openapi.json."""

import base64
import hashlib
import re

from fastapi import APIRouter, FastAPI
from fastapi.openapi.docs import get_swagger_ui_html
from starlette.responses import HTMLResponse

_SCRIPTS = "https://cdn.jsdelivr.net"
_INLINE_SCRIPT = re.compile(r"<script>(.*?)</script>", re.DOTALL)


def documentation(app: FastAPI) -> APIRouter:
    """The route of the page, which runs its own scripts and no others."""
    page = bytes(get_swagger_ui_html(openapi_url="/openapi.json", title=app.title).body).decode()
    hashes = " ".join(f"'sha256-{_hash(script)}'" for script in _INLINE_SCRIPT.findall(page))
    policy = (
        f"default-src 'none'; script-src {_SCRIPTS} {hashes}; style-src {_SCRIPTS} 'unsafe-inline'; "
        "img-src 'self' data: https://fastapi.tiangolo.com; connect-src 'self'; base-uri 'none'; "
        "frame-ancestors 'none'"
    )
    router = APIRouter()

    @router.get("/docs", include_in_schema=False)
    async def docs() -> HTMLResponse:
        return HTMLResponse(page, headers={"Content-Security-Policy": policy})

    return router


def _hash(script: str) -> str:
    return base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
