"""Accuracy of a network on the test split."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Self

import torch
from torch import Tensor, nn

from nern_core.contract.errors import NernError, reason_of
from nern_core.networks import Architecture, Preprocessing, build_network, find_architecture
from nern_core.networks.datasets import (
    ImageSet,
    dataset_preprocessing,
    preprocessing_notes,
    read_image_set,
    to_inputs,
)
from nern_core.networks.fidelity import Quality, QualityMeter
from nern_core.networks.labels import refuse_labels
from nern_core.networks.outputs import ONLY
from nern_core.tensors.checkpoint import Checkpoint

_IMAGES_PER_BATCH = 250
_AXES_OF_LOGITS = 2
_CPU = torch.device("cpu")


def logits(network: nn.Module, images: ImageSet, preprocessing: Preprocessing) -> Tensor:
    """Return the network's logits for all images, float32 (n, classes), on the CPU.

    Raises `NernError` (`bad_data`) if a label is outside of the network's classes.
    """
    return torch.cat([found for found, _ in _batches(network, images, preprocessing)])


def accuracy(network: nn.Module, images: ImageSet, preprocessing: Preprocessing) -> float:
    """Return the percentage of images whose largest logit is at their label. Raises `NernError` as `logits` does."""
    batches = _batches(network, images, preprocessing)
    correct = sum(int((found.argmax(dim=1) == labels).sum()) for found, labels in batches)
    return 100 * correct / len(images)


@torch.no_grad()
def _batches(network: nn.Module, images: ImageSet, preprocessing: Preprocessing) -> Iterator[tuple[Tensor, Tensor]]:
    """Yield logits and labels batch by batch. Raises `NernError` at the first batch whose labels do not fit."""
    device = next(network.parameters()).device
    parts = zip(images.images.split(_IMAGES_PER_BATCH), images.labels.split(_IMAGES_PER_BATCH), strict=True)
    for pixels, labels in parts:
        found = network(to_inputs(pixels.to(device), preprocessing)).float().cpu()
        refuse_labels(labels, found.shape[1])
        yield found, labels


def refuse_input_size(network: nn.Module, architecture: Architecture, preprocessing: Preprocessing) -> None:
    """Raise `NernError` (`bad_data`) if the network does not accept images of the data set's input size."""
    size = preprocessing.input_size
    own = architecture.preprocessing.input_size
    if size == own:
        return
    try:
        with torch.inference_mode():
            network(torch.zeros(1, 3, size, size, device=next(network.parameters()).device))
    except (AssertionError, RuntimeError, TypeError, ValueError) as error:
        if not own:
            raise NernError(
                "bad_data",
                f"The network {architecture.name} does not accept images of {size} x {size} pixels: "
                f"{reason_of(error)}.",
            ) from error
        raise NernError(
            "bad_data",
            f"The dataset sets an `input_size` of {size}, which {architecture.name} does not accept; omit it "
            f"to use {own}.",
        ) from error


@torch.inference_mode()
def count_classes(network: nn.Module, preprocessing: Preprocessing) -> int | None:
    """Return the number of classes of a classifier of images; None for another network."""
    size = preprocessing.input_size
    logits = network(torch.zeros(1, 3, size, size, device=next(network.parameters()).device))
    return logits.shape[1] if isinstance(logits, Tensor) and logits.ndim == _AXES_OF_LOGITS else None


@dataclass(frozen=True, kw_only=True, slots=True)
class Evaluator:
    """Evaluate checkpoints of one architecture on the same images."""

    architecture: Architecture
    images: ImageSet
    preprocessing: Preprocessing
    device: torch.device

    @property
    def notes(self) -> tuple[str, ...]:
        """Return sentences on how the images were read."""
        return self.images.notes

    def accuracy(self, tensors: Mapping[str, Tensor]) -> float:
        """Return the accuracy in percent of the network with these tensors. Raises `NernError` if they do not fit."""
        return accuracy(self._network(tensors), self.images, self.preprocessing)

    def logits(self, tensors: Mapping[str, Tensor]) -> Tensor:
        """Compute the logits with these tensors, float32 (n, classes). Raises `NernError` if they do not fit."""
        return logits(self._network(tensors), self.images, self.preprocessing)

    @torch.no_grad()
    def compare(self, original: Mapping[str, Tensor], changed: Mapping[str, Tensor]) -> Quality:
        """Measure the network with changed tensors. Raises `NernError` as `accuracy` does."""
        meter = QualityMeter()
        networks = [self._network(tensors) for tensors in (original, changed)]
        batches = [_batches(network, self.images, self.preprocessing) for network in networks]
        for (logits, labels), (others, _) in zip(*batches, strict=True):
            meter.add({ONLY: logits}, {ONLY: others}, len(labels), labels)
        return meter.quality()

    def with_images(self, count: int) -> Self:
        """Return the same evaluator with `count` evenly spaced images, or with all if there are no more."""
        if count >= len(self.images):
            return self
        rows = torch.arange(count) * len(self.images) // count
        return replace(self, images=ImageSet(self.images.images[rows], self.images.labels[rows]))

    def _network(self, tensors: Mapping[str, Tensor]) -> nn.Module:
        network = build_network(self.architecture, tensors, self.device)
        refuse_input_size(network, self.architecture, self.preprocessing)
        return network


def open_evaluator(
    architecture_name: str, dataset: Path, *, images: int | None = None, device: torch.device = _CPU
) -> Evaluator:
    """Open the test split of a data set; with `images`, only that number of images, evenly spaced.

    Raises `NernError` if the architecture is unknown or the data are missing.
    """
    architecture = find_architecture(architecture_name)
    preprocessing = dataset_preprocessing(dataset, architecture.preprocessing)
    read = read_image_set(dataset, "test", preprocessing)
    notes = preprocessing_notes(architecture.preprocessing, preprocessing)
    evaluator = Evaluator(
        architecture=architecture,
        images=replace(read, notes=(*read.notes, *notes)),
        preprocessing=preprocessing,
        device=device,
    )
    return evaluator if images is None else evaluator.with_images(images)


def evaluate_checkpoint(checkpoint: Checkpoint, architecture_name: str, dataset: Path) -> float:
    """Return the accuracy in percent of a checkpoint on the test split of a dataset folder.

    Raises `NernError` if the checkpoint, the architecture or the data do not fit.
    """
    return open_evaluator(architecture_name, dataset).accuracy(checkpoint.tensors)
