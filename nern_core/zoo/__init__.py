"""Architectures by name: how to build the network that a checkpoint belongs to, and to feed it."""

from nern_core.zoo.architecture import Architecture, Augmentation, Preprocessing
from nern_core.zoo.registry import build_network, find_architecture

__all__ = ["Architecture", "Augmentation", "Preprocessing", "build_network", "find_architecture"]
