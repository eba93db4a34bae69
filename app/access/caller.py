"""The caller of a request."""

from contextvars import ContextVar
from dataclasses import dataclass
from enum import StrEnum

# Tenant of a service without keys, and of all jobs from before tenants existed.
DEFAULT_TENANT = "default"
# Tenant of the current task or thread, used to divide threads and places among tenants.
tenant_of_request: ContextVar[str] = ContextVar("tenant_of_request", default=DEFAULT_TENANT)


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
