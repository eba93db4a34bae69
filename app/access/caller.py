"""The caller of a request."""

from dataclasses import dataclass
from enum import StrEnum

from app.kit.tenants import DEFAULT_TENANT


class Scope(StrEnum):
    """Permissions of a key."""

    READ = "jobs:read"
    WRITE = "jobs:write"


@dataclass(frozen=True, slots=True)
class Caller:
    """Tenant and scopes of a request. A service without keys has no `key_id`."""

    tenant: str
    scopes: frozenset[Scope]
    key_id: str | None = None


ANYBODY = Caller(DEFAULT_TENANT, frozenset(Scope))
