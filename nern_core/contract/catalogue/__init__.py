"""Architectures and recipes that an encoding can name, with descriptions for users. Torch-free."""

from nern_core.contract.catalogue.architectures import ArchitectureEntry, Represented, architectures
from nern_core.contract.catalogue.networks import NetworkStructure, network_structure
from nern_core.contract.catalogue.recipes import RECIPE_ENTRIES, RecipeEntry, RecipeName

__all__ = [
    "RECIPE_ENTRIES",
    "ArchitectureEntry",
    "NetworkStructure",
    "RecipeEntry",
    "RecipeName",
    "Represented",
    "architectures",
    "network_structure",
]
