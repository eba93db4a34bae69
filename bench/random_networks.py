"""Torchvision networks with random weights, for cases where only the number of weights matters."""

from pathlib import Path

import safetensors.torch
import torch
from torch import Tensor

from nern_core.networks import find_architecture

_CLASSES = 1000


def random_tensors(name: str) -> dict[str, Tensor]:
    """Return the initial tensors of a torchvision network such as `resnet18`, always the same ones."""
    torch.manual_seed(0)
    return find_architecture(f"torchvision:{name}").build(_CLASSES).state_dict()


def random_checkpoint(folder: Path, name: str) -> Path:
    """Write the same tensors to a file in a folder, and return its path."""
    path = folder / f"{name}.safetensors"
    safetensors.torch.save_file(random_tensors(name), path)
    return path
