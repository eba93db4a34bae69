"""Who makes a request."""

from contextvars import ContextVar
from dataclasses import dataclass
from enum import StrEnum

# Of a service without keys, and of all jobs from before there were tenants.
DEFAULT_TENANT = "default"
# Whose request the present task or thread works on, for what divides threads and places among tenants.
tenant_of_request: ContextVar[str] = ContextVar("tenant_of_request", default=DEFAULT_TENANT)


class Scope(StrEnum):
    """What a key may be good for."""

    READ = "jobs:read"
    WRITE = "jobs:write"


@dataclass(frozen=True, slots=True)
class Caller:
    """Whom a request speaks for and what it may do. `key_id` is None where no keys are needed."""

    tenant: str
    scopes: frozenset[Scope]
    key_id: str | None = None


ANYBODY = Caller(DEFAULT_TENANT, frozenset(Scope))
