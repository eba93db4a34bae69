"""Read and check the input of an encoding: the checkpoint, the layers to represent, the data and the teacher."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import torch

from nern_core.container.document import Source
from nern_core.contract.catalogue import network_structure
from nern_core.contract.errors import NernError
from nern_core.contract.options import EncodeOptions
from nern_core.networks import Architecture, Preprocessing, build_network, find_architecture
from nern_core.networks.datasets import ImageSet, dataset_preprocessing, read_image_set
from nern_core.networks.evaluate import Evaluator, refuse_input_size, refuse_labels
from nern_core.tensors.checkpoint import Checkpoint, find_tied, read_checkpoint
from nern_core.tensors.digest import file_sha256
from nern_core.tensors.finite_weights import refuse_non_finite
from nern_core.tensors.kernels import KernelLayer, select_layers
from nern_core.training.teacher import StrongerTeacher, Teacher, read_stronger_teacher


@dataclass(frozen=True, kw_only=True, slots=True)
class EncodingInput:
    """All input, read before any computation. Without an architecture there are no images."""

    checkpoint: Checkpoint
    source: Source
    layers: tuple[KernelLayer, ...]
    tied: Mapping[str, str]
    architecture: Architecture | None
    preprocessing: Preprocessing | None
    training_images: ImageSet | None
    test_images: ImageSet | None

    @property
    def tensor_bytes(self) -> int:
        """Return the bytes of the tensors that are encoded; the file may hold more, such as an optimizer's state."""
        return min(self.source.bytes, sum(tensor.nbytes for tensor in self.checkpoint.tensors.values()))

    def evaluator(self, device: torch.device) -> Evaluator | None:
        """Return an evaluator for the test split; None without data."""
        if self.architecture is None or self.test_images is None or self.preprocessing is None:
            return None
        return Evaluator(
            architecture=self.architecture,
            images=self.test_images,
            preprocessing=self.preprocessing,
            device=device,
        )


def read_input(path: Path, options: EncodeOptions, *, reads_training_images: bool) -> EncodingInput:
    """Read the checkpoint and the data; the training images only if the recipe uses them.

    Raises `NernError` if they are invalid or do not fit each other.
    """
    checkpoint = read_checkpoint(path, options.key, options.architecture)
    tied = find_tied(checkpoint.tensors)
    architecture, network, order, preprocessing = None, None, None, None
    if options.architecture is not None:
        architecture = find_architecture(options.architecture)
        preprocessing = architecture.preprocessing
        # The network's own order of layers, because a safetensors file does not keep it. Other tensors come after them.
        network = build_network(architecture, checkpoint.tensors)
        order = [name for name in network.state_dict() if name in checkpoint.tensors]
        order += [name for name in checkpoint.tensors if name not in set(order)]
    layers = select_layers(
        checkpoint.tensors,
        options.represented,
        options.predictor_width,
        kernels_per_coordinate=options.kernels_per_coordinate,
        order=order,
        tied=tied,
    )
    layers = refuse_non_finite(layers, checkpoint.tensors, options.represented)
    folder = None if options.dataset is None else Path(options.dataset)
    test_images, training_images = None, None
    if folder is not None and architecture is not None and network is not None:
        preprocessing = dataset_preprocessing(folder, architecture.preprocessing)
        refuse_input_size(network, architecture, preprocessing)
        classes = checkpoint.tensors[network_structure(architecture.name).classifier].shape[0]
        test_images = _read_images(folder, "test", classes)
        training_images = _read_images(folder, "train", classes) if reads_training_images else None
    return EncodingInput(
        checkpoint=checkpoint,
        source=Source(sha256=file_sha256(path), bytes=path.stat().st_size),
        layers=layers,
        tied=tied,
        architecture=architecture,
        preprocessing=preprocessing,
        test_images=test_images,
        training_images=training_images,
    )


def _read_images(dataset: Path, split: str, classes: int) -> ImageSet:
    images = read_image_set(dataset, split)
    refuse_labels(images.labels, classes)
    return images


def make_teacher(
    source: EncodingInput,
    device: torch.device,
    options: EncodeOptions,
    stronger: StrongerTeacher | None,
    *,
    compares_features: bool,
) -> Teacher | None:
    """Return the original network, if its architecture is known, with the stronger teacher if that can be used."""
    if stronger is not None:
        _refuse_stronger_teacher(source, options, compares_features=compares_features)
    if source.architecture is None or source.preprocessing is None:
        return None
    network = build_network(source.architecture, source.checkpoint.tensors, device)
    better = None
    if stronger is not None and options.dataset is not None:
        better = read_stronger_teacher(stronger, network, source.preprocessing, Path(options.dataset))
    return Teacher(network=network, preprocessing=source.preprocessing, images=source.training_images, stronger=better)


def _refuse_stronger_teacher(source: EncodingInput, options: EncodeOptions, *, compares_features: bool) -> None:
    """Raise `NernError` if a stronger teacher has no images, or if the recipe cannot use it."""
    if source.training_images is None:
        raise NernError("teacher_without_data", "A stronger teacher needs images; give a `dataset`, too.")
    if compares_features:
        raise NernError(
            "teacher_features",
            f"The recipe `{options.recipe}` compares feature maps, which a stronger teacher of another architecture "
            "does not have; choose the recipe `fast`, or omit the teacher.",
        )
