"""Extras of the installation: names the one that a command needs."""

from importlib.util import find_spec
from typing import Final

from nern_core.contract.errors import NernError
from nern_core.contract.extras import install

_ENCODE = "constriction jinja2 matplotlib numba numpy PIL pytorch_optimizer safetensors torch torchvision zstandard"
_SERVICE = (
    "alembic cachetools celery fastapi fastapi_offline h11 kombu prometheus_client psycopg pydantic_settings "
    "python_multipart redis sqlalchemy starlette structlog uuid_utils uvicorn"
)
# The extra that installs each package, by the name that imports it. Of two extras, the first in alphabetical order.
EXTRAS: Final = {
    **dict.fromkeys(_ENCODE.split(), "encode"),
    **dict.fromkeys(_SERVICE.split(), "service"),
    "mlflow": "mlflow",
    "pyarrow": "data",
    "onnx": "onnx",
    "obstore": "s3",
    "opentelemetry": "opentelemetry",
}


def missing_extra(error: ModuleNotFoundError) -> str | None:
    """Return the extra that installs the missing module, or None if no extra does."""
    return EXTRAS.get((error.name or "").partition(".")[0])


def needs_extra(command: str, extra: str) -> NernError:
    """Make the error for a command whose extra is not installed."""
    return NernError("missing_extra", f"{command} needs the extra {extra}: {install(extra)}")


def require_module(name: str) -> None:
    """Raise `ModuleNotFoundError` for a package that only a child process imports, as its import would."""
    if find_spec(name) is None:
        raise ModuleNotFoundError(f"No module named {name!r}", name=name)
