"""The recipes for those who choose one. `nern_core.recipes` holds what each of them does."""

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

from nern_core.options import RecipeName


class RecipeEntry(BaseModel):
    """What is to be known of a recipe before it is chosen."""

    model_config = ConfigDict(frozen=True)

    name: RecipeName
    summary: str
    default_seconds: Annotated[
        float | None,
        Field(
            description="About how long two ordinary cores train where a job names no budget. Its steps follow from "
            "the network, so that a slower machine takes longer and makes the same file."
        ),
    ] = None
    default_steps: Annotated[int | None, Field(description="Steps of a job that names no budget.")] = None
    needs_architecture: Annotated[bool, Field(description="Whether the option `architecture` must be given.")] = False
    learns_from_dataset: Annotated[
        bool, Field(description="Whether the images of the option `dataset` are trained on, not only measured on.")
    ] = True
    takes_target: Annotated[bool, Field(description="Whether `target_bytes` and `target_ratio` may be given.")] = True
    takes_max_drop: Annotated[bool, Field(description="Whether `max_drop` may be given.")] = False


RECIPE_ENTRIES = (
    RecipeEntry(
        name=RecipeName.FAST,
        summary="The most accuracy per second on a CPU: distillation on blended images; a predictor is fitted to the "
        "weights before.",
        default_seconds=150,
        takes_max_drop=True,
    ),
    RecipeEntry(
        name=RecipeName.PAPER,
        summary="The published settings, for comparison with the paper; takes hours.",
        default_steps=68_600,
        takes_target=False,
    ),
    RecipeEntry(
        name=RecipeName.DATA_FREE,
        summary="Like `fast` for those without a data set: it makes images from the network's batch normalization.",
        default_seconds=300,
        needs_architecture=True,
        learns_from_dataset=False,
    ),
)
