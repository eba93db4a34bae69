"""The teacher networks of distillation."""

from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn

from nern_core.contract.errors import NernError
from nern_core.networks import Preprocessing, build_network, find_architecture
from nern_core.networks.datasets import ImageSet, dataset_preprocessing
from nern_core.networks.failed_batches import failures_named, refuse_not_finite
from nern_core.networks.input_batch import InputBatch
from nern_core.networks.model_inputs import ModelInputs, call, device_of, to_device
from nern_core.networks.outputs import LOGITS, OutputReader
from nern_core.tensors.checkpoint import read_checkpoint
from nern_core.training.images import images_per_batch


@dataclass(frozen=True, kw_only=True, slots=True)
class StrongerTeacher:
    """A checkpoint whose logits replace the original's as the target, and the name of its architecture."""

    checkpoint: Path
    architecture: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Teacher:
    """The original network, in evaluation mode and frozen, and its data for teaching.

    A classifier of images has `preprocessing`; its `images` may be missing. `stronger`, if given, provides the logits
    instead. `synthesized` are inputs made from the network itself, float32 (N, 3, H, W). Without them and without
    training images, only noise is available. Any other network has `batches` of inputs, and a `reader` of its outputs.
    """

    network: nn.Module
    preprocessing: Preprocessing | None = None
    images: ImageSet | None = None
    batches: tuple[InputBatch, ...] = ()
    reader: OutputReader = LOGITS
    stronger: nn.Module | None = None
    synthesized: Tensor | None = None

    @property
    def device(self) -> torch.device:
        """Return the device of the network."""
        return device_of(self.network)

    @torch.no_grad()
    def logits(self, inputs: ModelInputs) -> Tensor:
        """Return the target outputs as `reader` does, of the stronger network if there is one.

        Raises `NernError` (`bad_data`) if the network fails for a batch or, on the CPU, returns what is not finite.
        """
        network = self.stronger or self.network
        if not self.batches:
            return self.reader.read(network, lambda: call(network, inputs), inputs)
        with failures_named(inputs, self.batches):
            outputs = self.reader.read(network, lambda: call(network, inputs), inputs)
        # A GPU would have to wait for the answer, and no graph could repeat the step.
        if outputs.device.type == "cpu":
            refuse_not_finite(outputs, inputs, self.batches)
        return outputs

    def example(self) -> tuple[ModelInputs, int] | None:
        """Return inputs on the network's device, to count operations with, and the number of their examples.

        None if nothing is known about the inputs.
        """
        if self.batches:
            return to_device(self.batches[0].inputs, self.device), self.batches[0].examples
        if self.preprocessing is None:
            return None
        size = self.preprocessing.input_size
        return torch.zeros(1, 3, size, size, device=self.device), 1

    @property
    def image_preprocessing(self) -> Preprocessing:
        """Return the preprocessing of a classifier of images."""
        assert self.preprocessing is not None
        return self.preprocessing

    def examples_per_step(self, wanted: int) -> int:
        """Return the size of a batch: `wanted` images or what memory allows; other batches have a size of their own."""
        if self.batches:
            return self.batches[0].examples
        if self.preprocessing is None:
            return 0
        return images_per_batch(wanted, self.image_preprocessing.input_size, self.device)


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
