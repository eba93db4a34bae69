"""Recipes: named training settings, one format for all."""

from nern_core.options import RecipeName
from nern_core.recipes.fast import FAST
from nern_core.recipes.paper import PAPER
from nern_core.recipes.recipe import Recipe

RECIPES = {RecipeName.FAST: FAST, RecipeName.PAPER: PAPER}

__all__ = ["RECIPES", "Recipe"]
