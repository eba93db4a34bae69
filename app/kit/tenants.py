"""The tenant of the current request."""

from contextvars import ContextVar

# Tenant of a service without keys, and of all jobs from before tenants existed.
DEFAULT_TENANT = "default"
# Tenant of the current task or thread, used to divide threads and places among tenants.
tenant_of_request: ContextVar[str] = ContextVar("tenant_of_request", default=DEFAULT_TENANT)
