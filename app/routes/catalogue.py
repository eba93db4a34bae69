"""Catalogue for jobs: architectures, recipes, and the schema of the options."""

from http import HTTPStatus
from typing import Any

from fastapi import APIRouter, Security
from fastapi.responses import JSONResponse
from pydantic import BaseModel

from app.access.caller import Scope
from app.http.problem_answers import describe
from app.routes.authentication import authenticate
from nern_core.contract.catalogue import RECIPE_ENTRIES, ArchitectureEntry, RecipeEntry, architectures
from nern_core.contract.options import EncodeOptions

router = APIRouter(
    tags=["catalogue"],
    dependencies=[Security(authenticate, scopes=[Scope.READ])],
    responses=describe(
        HTTPStatus.UNAUTHORIZED,
        HTTPStatus.FORBIDDEN,
        HTTPStatus.TOO_MANY_REQUESTS,
        HTTPStatus.SERVICE_UNAVAILABLE,
    ),
)
_DIALECT = "https://json-schema.org/draft/2020-12/schema"


class ArchitectureList(BaseModel):
    """All architectures."""

    items: tuple[ArchitectureEntry, ...]


class RecipeList(BaseModel):
    """All recipes, the default one first."""

    items: tuple[RecipeEntry, ...]


class SchemaResponse(JSONResponse):
    """A JSON Schema."""

    media_type = "application/schema+json"


@router.get("/architectures", summary="List architectures", operation_id="list_architectures")
async def list_architectures() -> ArchitectureList:
    """Values of the option `architecture`, with the layers of each that `kernels` can represent."""
    return ArchitectureList(items=architectures())


@router.get("/recipes", summary="List recipes", operation_id="list_recipes")
async def list_recipes() -> RecipeList:
    """Values of the option `recipe`."""
    return RecipeList(items=RECIPE_ENTRIES)


@router.get(
    "/options/schema",
    summary="Get the schema of the options",
    operation_id="get_options_schema",
    response_class=SchemaResponse,
)
async def get_options_schema() -> SchemaResponse:
    """JSON Schema of a job's options, with defaults, for forms and editors."""
    schema: dict[str, Any] = {"$schema": _DIALECT} | EncodeOptions.model_json_schema()
    return SchemaResponse(schema)
