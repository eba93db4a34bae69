"""Recipes: named training settings in one common format."""

from nern_core.contract.catalogue import RecipeName
from nern_core.recipes.data_free import DATA_FREE
from nern_core.recipes.fast import FAST
from nern_core.recipes.paper import PAPER
from nern_core.recipes.recipe import Recipe

RECIPES = {RecipeName.FAST: FAST, RecipeName.PAPER: PAPER, RecipeName.DATA_FREE: DATA_FREE}

__all__ = ["RECIPES", "Recipe"]
