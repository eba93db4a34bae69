"""`nern keys`: manage the API keys in the database at NERN_DATABASE_URL."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Annotated

import typer

from nern_cli.arguments import Json
from nern_cli.display import print_json, print_points
from nern_cli.terminal_text import print_line, print_note, print_row

if TYPE_CHECKING:
    from app.access.models import ApiKey
    from app.access.service import ApiKeyService

keys = typer.Typer(help="Create, list and revoke the API keys of the service.", no_args_is_help=True)


@keys.command()
def create(
    tenant: Annotated[str, typer.Option(help="Tenant of the key; the keys of one tenant share their jobs.")],
    read_only: Annotated[bool, typer.Option("--read-only", help="Allow only jobs:read, not jobs:write.")] = (False),
    days: Annotated[int | None, typer.Option(min=1, help="Days until the key expires. Default: never.")] = None,
    description: Annotated[str, typer.Option(help="Purpose of the key.")] = "",
) -> None:
    """Create a key and print it on standard output. It cannot be shown again."""
    from app.access.caller import Scope

    scopes = [Scope.READ] if read_only else list(Scope)
    lifetime = None if days is None else timedelta(days=days)
    with _service() as service:
        token = service.create(tenant, scopes, description=description, lifetime=lifetime)
    print_line(token.reveal())
    print_note(f"Save this key for tenant `{tenant}`; it is shown once. Its id is {token.key_id}.")


@keys.command("list")
def list_keys(json: Json = False) -> None:
    """Show all keys, without their secrets; in a pipe, as lines of tab-separated columns."""
    with _service() as service:
        rows = [_row(key) for key in service.all()]
    if json:
        print_json({"keys": rows})
    elif not sys.stdout.isatty():
        for row in rows:
            print_row(value or "" for value in row.values())
    elif rows:
        print_points(rows)
    else:
        print_line("There are no API keys; create one with `nern keys create`.")


@keys.command()
def revoke(key_id: Annotated[str, typer.Argument(help="Key id, as shown by `nern keys list`.")]) -> None:
    """Revoke a key immediately. Its jobs stay."""
    with _service() as service:
        service.revoke(key_id)
    print_line(f"The key {key_id} is revoked.")


@contextmanager
def _service() -> "Iterator[ApiKeyService]":
    from app.access.service import ApiKeyService
    from app.db.engine import create_sessions
    from app.db.schema import database_errors_told, require_schema
    from app.settings import Settings

    settings = Settings()
    require_schema(settings)
    sessions = create_sessions(settings)
    try:
        with database_errors_told():
            yield ApiKeyService(sessions)
    finally:
        sessions.kw["bind"].dispose()


def _row(key: "ApiKey") -> dict[str, str | None]:
    return {
        "id": key.id,
        "tenant": key.tenant,
        "scopes": " ".join(key.scopes),
        "description": key.description,
        "created": _day(key.created_at),
        "last_used": _day(key.last_used_at),
        "expires": _day(key.expires_at),
        "state": _state(key),
    }


def _state(key: "ApiKey") -> str:
    if key.revoked_at is not None:
        return "revoked"
    return "expired" if key.expires_at is not None and key.expires_at <= datetime.now(UTC) else "good"


def _day(time: datetime | None) -> str | None:
    return None if time is None else time.strftime("%Y-%m-%d")
