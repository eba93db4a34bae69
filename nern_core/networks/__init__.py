"""Architectures by name: build the network of a checkpoint, and preprocess its inputs."""

from nern_core.networks.architecture import Architecture, Augmentation, Preprocessing
from nern_core.networks.registry import build_network, find_architecture

__all__ = ["Architecture", "Augmentation", "Preprocessing", "build_network", "find_architecture"]
