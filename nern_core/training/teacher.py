"""The teacher networks of distillation."""

from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn

from nern_core.contract.errors import NernError
from nern_core.networks import Preprocessing, build_network, find_architecture
from nern_core.networks.datasets import ImageSet, dataset_preprocessing
from nern_core.tensors.checkpoint import read_checkpoint


@dataclass(frozen=True, kw_only=True, slots=True)
class StrongerTeacher:
    """A checkpoint whose logits replace the original's as the target, and the name of its architecture."""

    checkpoint: Path
    architecture: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Teacher:
    """The original network, in evaluation mode and frozen, and its data for teaching.

    `stronger`, if given, provides the logits instead. `synthesized` are inputs made from the network itself, float32
    (N, 3, H, W). Without them and without training images, only noise is available.
    """

    network: nn.Module
    preprocessing: Preprocessing
    images: ImageSet | None
    stronger: nn.Module | None = None
    synthesized: Tensor | None = None

    @property
    def device(self) -> torch.device:
        """Return the device of the network."""
        return next(self.network.parameters()).device

    @torch.no_grad()
    def logits(self, inputs: Tensor) -> Tensor:
        """Return the target logits: float32 (n, classes), of the stronger network if there is one."""
        logits: Tensor = (self.stronger or self.network)(inputs).float()
        return logits


def read_stronger_teacher(
    stronger: StrongerTeacher, student: nn.Module, preprocessing: Preprocessing, dataset: Path
) -> nn.Module:
    """Build the stronger teacher on the student's device and check that it can replace the original.

    Raises `NernError`: `teacher_inputs` if its inputs differ, `teacher_classes` if its classes do.
    """
    architecture = find_architecture(stronger.architecture)
    own = dataset_preprocessing(dataset, architecture.preprocessing)
    if (own.mean, own.std, own.input_size) != (preprocessing.mean, preprocessing.std, preprocessing.input_size):
        raise NernError(
            "teacher_inputs",
            f"The teacher {architecture.name} needs images of another size or normalization than the network; "
            "give `mean`, `std` and `input_size` for both in the dataset.json of the dataset folder.",
        )
    device = next(student.parameters()).device
    network = build_network(architecture, read_checkpoint(stronger.checkpoint).tensors, device)
    probe = torch.zeros(1, 3, own.input_size, own.input_size, device=device)
    with torch.no_grad():
        classes, wanted = network(probe).shape[1], student(probe).shape[1]
    if classes != wanted:
        raise NernError(
            "teacher_classes",
            f"The teacher has {classes} classes and the network has {wanted}; choose a teacher with the same classes.",
        )
    return network
