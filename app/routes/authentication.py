"""Authentication dependency of the routes: `Security(authenticate, scopes=[Scope.READ])`."""

from http import HTTPStatus
from typing import Annotated

from fastapi import Depends, Request, Security
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer, SecurityScopes

from app.access.browser import key_of_browser
from app.access.caller import ANYBODY, Caller, Scope
from app.access.key_watch import WatchedKey
from app.access.service import read_token
from app.kit.problems import Problem
from app.kit.tenants import tenant_of_request
from app.services import Services, services_of

_bearer = HTTPBearer(
    auto_error=False,
    scheme_name="API key",
    bearerFormat="nern_<id>_<secret>",
    description="A key that the operator creates with `nern keys create`. A service without keys needs none.",
)


async def authenticate(
    request: Request, required: SecurityScopes, bearer: Annotated[HTTPAuthorizationCredentials | None, Depends(_bearer)]
) -> Caller:
    """Return the caller, who has all required scopes.

    Raises `Problem` (`missing-key`, `invalid-key`, `revoked-key`, `expired-key`, `too-many-requests`, `missing-scope`).
    """
    services = services_of(request)
    caller = await _holder(request, services, bearer) if services.settings.keys_required else ANYBODY
    request.state.caller = caller
    tenant_of_request.set(caller.tenant)
    missing = [scope for scope in required.scopes if scope not in caller.scopes]
    if missing:
        names = " and ".join(f"`{scope}`" for scope in missing)
        raise Problem(
            HTTPStatus.FORBIDDEN,
            "missing-scope",
            f"This API key does not have the scope {names}; ask the operator for a key that has it.",
            headers={"WWW-Authenticate": f'Bearer error="insufficient_scope", scope="{" ".join(required.scopes)}"'},
        )
    return caller


def watched_key(request: Request) -> WatchedKey:
    """Return the watched key of a request, for waits; in a service without keys it is never refused."""
    found: WatchedKey = request.scope["state"].get("watched_key") or WatchedKey()
    return found


async def _tenant(caller: Annotated[Caller, Depends(authenticate)]) -> str:
    return caller.tenant


# The tenant of the caller, whose key must have the scope to read or to write.
Tenant = Annotated[str, Security(_tenant, scopes=[Scope.READ])]
WritingTenant = Annotated[str, Security(_tenant, scopes=[Scope.WRITE])]


async def _holder(request: Request, services: Services, bearer: HTTPAuthorizationCredentials | None) -> Caller:
    """Find the holder of the key, and count the request against its rate limit."""
    key = key_of_browser(request) if bearer is None else bearer.credentials
    if key is None:
        raise Problem(
            HTTPStatus.UNAUTHORIZED,
            "missing-key",
            "Send an API key in the header `Authorization: Bearer nern_…`; the operator creates one with "
            "`nern keys create`.",
            headers={"WWW-Authenticate": "Bearer"},
        )
    caller = await services.callers.find(key)
    watched_key(request).begin(services.key_watch, read_token(key))
    # Set before the rate limit, so that the log names the caller of a refused request too.
    request.state.caller = caller
    if caller.key_id is not None:
        request.state.allowance = await services.rate.take(caller.key_id)
    return caller
