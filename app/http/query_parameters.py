"""Refuses undeclared query parameters, so that a misspelt filter is not silently ignored.

Also refuses repeated parameters of a single value, so that none of the values is silently ignored.
"""

from collections import Counter
from collections.abc import Iterator
from http import HTTPStatus
from typing import get_origin

from fastapi import Request
from fastapi._compat import ModelField
from fastapi.dependencies.models import Dependant

from app.kit.problems import FieldProblem, Problem

_NAMED_AT_MOST = 8
_LONGEST_NAME = 64


async def refuse_unknown_parameters(request: Request) -> None:
    """Dependency of every route. Raises `Problem` (`unknown-parameter`, `repeated-parameter`)."""
    if not request.url.query:
        return
    dependant: Dependant = request.scope["route"].dependant
    parameters = list(_parameters(dependant))
    known = {parameter.alias for parameter in parameters}
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
    once = {field.alias for field in parameters if get_origin(field.field_info.annotation) not in {list, tuple}}
    repeated = [
        name
        for name, times in Counter(name for name, _ in request.query_params.multi_items()).items()
        if times > 1 and name in once
    ]
    if repeated:
        fields = [FieldProblem(field=name, detail="give it once") for name in repeated]
        names = ", ".join(f"`{name}`" for name in repeated)
        raise Problem(
            HTTPStatus.UNPROCESSABLE_ENTITY,
            "repeated-parameter",
            f"The query has {names} several times, and this address takes one value; send the one that counts.",
            errors=fields,
        )


def _parameters(dependant: Dependant) -> Iterator[ModelField]:
    yield from dependant.query_params
    for dependency in dependant.dependencies:
        yield from _parameters(dependency)
