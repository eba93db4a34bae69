"""Accuracy of a network on the test split."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn

from nern_core.checkpoint import Checkpoint
from nern_core.datasets import ImageSet, dataset_preprocessing, read_image_set, to_inputs
from nern_core.errors import NernError
from nern_core.zoo import Architecture, Preprocessing, build_network, find_architecture

_IMAGES_PER_BATCH = 250
_CPU = torch.device("cpu")


def accuracy(network: nn.Module, images: ImageSet, preprocessing: Preprocessing) -> float:
    """Share of images, in percent, whose largest logit is at their label; float32, whole split.

    Raises `NernError` (`bad_data`) if a label is outside of the network's classes.
    """
    device = next(network.parameters()).device
    correct = 0
    with torch.no_grad():
        for pixels, labels in zip(
            images.images.split(_IMAGES_PER_BATCH), images.labels.split(_IMAGES_PER_BATCH), strict=True
        ):
            logits = network(to_inputs(pixels.to(device), preprocessing))
            if int(labels.max()) >= logits.shape[1] or int(labels.min()) < 0:
                raise NernError(
                    "bad_data",
                    f"The dataset has the label {int(labels.max())}, but the network has {logits.shape[1]} classes.",
                )
            correct += int((logits.argmax(dim=1).cpu() == labels).sum())
    return 100 * correct / len(images)


@dataclass(frozen=True, kw_only=True, slots=True)
class Evaluator:
    """Measures any number of checkpoints of one architecture on the same images."""

    architecture: Architecture
    images: ImageSet
    preprocessing: Preprocessing
    device: torch.device

    def accuracy(self, tensors: Mapping[str, Tensor]) -> float:
        """Accuracy in percent of the network with these tensors. Raises `NernError` where they do not fit."""
        return accuracy(build_network(self.architecture, tensors, self.device), self.images, self.preprocessing)


def open_evaluator(
    architecture_name: str, dataset: Path, *, images: int | None = None, device: torch.device = _CPU
) -> Evaluator:
    """Read the test split of a dataset folder; with `images`, so many of its images, evenly spread over it.

    Raises `NernError` where there is no such architecture or no such data.
    """
    architecture = find_architecture(architecture_name)
    split = read_image_set(dataset, "test")
    if images is not None and images < len(split):
        rows = torch.arange(images) * len(split) // images
        split = ImageSet(split.images[rows], split.labels[rows])
    return Evaluator(
        architecture=architecture,
        images=split,
        preprocessing=dataset_preprocessing(dataset, architecture.preprocessing),
        device=device,
    )


def evaluate_checkpoint(checkpoint: Checkpoint, architecture_name: str, dataset: Path) -> float:
    """Accuracy in percent of a checkpoint on the test split of a dataset folder.

    Raises `NernError` where the checkpoint, the architecture or the data do not fit.
    """
    return open_evaluator(architecture_name, dataset).accuracy(checkpoint.tensors)
