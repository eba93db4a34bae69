"""Descriptions of the recipes for users. `nern_core.recipes` holds their settings."""

from enum import StrEnum
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field


class RecipeName(StrEnum):
    """Named training settings; `nern_core.recipes` holds the settings of each name."""

    FAST = "fast"
    PAPER = "paper"
    DATA_FREE = "data-free"


class RecipeEntry(BaseModel):
    """Facts for choosing a recipe."""

    model_config = ConfigDict(frozen=True)

    name: RecipeName
    summary: str
    default_seconds: Annotated[
        float | None,
        Field(
            description="Basis of the training steps if a job sets no budget: the operations that two cores compute in "
            "this time at best. The training usually takes longer, for a ResNet20 with `fast` about eight minutes on "
            "two cores. The steps depend on the network only, so a slower machine takes longer but makes the same file."
        ),
    ] = None
    default_steps: Annotated[int | None, Field(description="Training steps if a job sets no budget.")] = None
    needs_architecture: Annotated[bool, Field(description="True if the option `architecture` is required.")] = False
    learns_from_dataset: Annotated[
        bool, Field(description="True if the images of `dataset` are used for training, not only for measuring.")
    ] = True
    takes_target: Annotated[bool, Field(description="True if `target_bytes` and `target_ratio` are allowed.")] = True
    takes_max_drop: Annotated[bool, Field(description="True if `max_drop` is allowed.")] = False


RECIPE_ENTRIES = (
    RecipeEntry(
        name=RecipeName.FAST,
        summary="The most accurate file in a short time. With a data set, the weights learn to answer its images, "
        "blended in pairs, as the original does.",
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
        summary="Like `fast`, but without a data set: images are made from the network's batch normalization.",
        default_seconds=300,
        needs_architecture=True,
        learns_from_dataset=False,
    ),
)
