"""The recipes, with few images for `data-free`, because synthesis takes most of a short encoding."""

from dataclasses import replace

from nern_core.contract.catalogue import RecipeName
from nern_core.recipes import RECIPES, Recipe
from nern_core.recipes.data_free import DATA_FREE

assert DATA_FREE.synthesis is not None
_FEW = replace(DATA_FREE.synthesis, images=128, images_per_batch=64, steps=20)
QUICK_RECIPES: dict[RecipeName, Recipe] = {**RECIPES, RecipeName.DATA_FREE: replace(DATA_FREE, synthesis=_FEW)}
