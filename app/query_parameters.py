"""Refuses undeclared query parameters, so that a misspelt filter is not silently ignored."""

from collections.abc import Iterator
from http import HTTPStatus

from fastapi import Request
from fastapi.dependencies.models import Dependant

from app.problems import FieldProblem, Problem

_NAMED_AT_MOST = 8
_LONGEST_NAME = 64


async def refuse_unknown_parameters(request: Request) -> None:
    """Dependency of every route. Raises `Problem` (`unknown-parameter`)."""
    if not request.url.query:
        return
    dependant: Dependant = request.scope["route"].dependant
    known = set(_names(dependant))
    unknown = [name for name in request.query_params if name not in known][:_NAMED_AT_MOST]
    if unknown:
        takes = f"It takes {', '.join(f'`{name}`' for name in sorted(known))}." if known else "It takes no parameters."
        fields = [FieldProblem(field=name[:_LONGEST_NAME], detail="there is no such parameter") for name in unknown]
        names = ", ".join(f"`{field.field}`" for field in fields)
        raise Problem(
            HTTPStatus.UNPROCESSABLE_ENTITY,
            "unknown-parameter",
            f"This address does not take the query parameter {names}. {takes}",
            errors=fields,
        )


def _names(dependant: Dependant) -> Iterator[str]:
    yield from (parameter.alias for parameter in dependant.query_params)
    for dependency in dependant.dependencies:
        yield from _names(dependency)
