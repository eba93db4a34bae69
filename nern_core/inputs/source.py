"""Read and check the input of an encoding: the checkpoint, the layers to represent, the data and the teacher."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from nern_core.container.document import Source
from nern_core.contract.errors import NernError
from nern_core.contract.options import EncodeOptions, refuse_dataset_alone
from nern_core.formats.kernel_layer import KernelLayer
from nern_core.networks import Architecture, Preprocessing, build_network, find_architecture
from nern_core.networks.datasets import ImageSet, dataset_preprocessing, preprocessing_notes, read_image_set
from nern_core.networks.evaluate import Evaluator, count_classes
from nern_core.networks.fidelity import Quality
from nern_core.networks.input_evaluator import InputEvaluator, read_inputs
from nern_core.networks.input_set import InputSet, read_batches
from nern_core.networks.labels import refuse_labels
from nern_core.networks.onnx_graph import build_onnx_network, read_onnx_inputs
from nern_core.networks.registry import structure_of_architecture
from nern_core.tensors.checkpoint import Checkpoint, find_tied, read_checkpoint
from nern_core.tensors.digest import digest_checkpoint
from nern_core.tensors.finite_weights import refuse_non_finite
from nern_core.tensors.kernels import select_layers


@dataclass(frozen=True, kw_only=True, slots=True)
class EncodingInput:
    """All input, read before any computation.

    Images need an `architecture`. A network that was given itself, or as an ONNX file, is `network`, with its `inputs`
    if there are any.
    `beside` are the names of tensors that the checkpoint has beside those of the `network`.
    """

    checkpoint: Checkpoint
    source: Source
    layers: tuple[KernelLayer, ...]
    tied: Mapping[str, str]
    architecture: Architecture | None = None
    preprocessing: Preprocessing | None = None
    training_images: ImageSet | None = None
    test_images: ImageSet | None = None
    network: nn.Module | None = None
    inputs: InputSet | None = None
    beside: frozenset[str] = frozenset()

    @property
    def tensor_bytes(self) -> int:
        """Return the bytes of the tensors that are encoded; the file may hold more, such as an optimizer's state."""
        return min(self.source.bytes, self.checkpoint.tensor_bytes)

    @property
    def notes(self) -> tuple[str, ...]:
        """Return sentences on how the data were read."""
        read = (self.training_images, self.test_images, self.inputs)
        return tuple(dict.fromkeys(note for data in read if data is not None for note in data.notes))

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

    def quality(self, decoded: Mapping[str, Tensor], device: torch.device) -> Quality | None:
        """Measure the network with decoded tensors, on the test split or the held-out inputs; None without any."""
        evaluator = self.evaluator(device)
        if evaluator is not None:
            return evaluator.compare(self.checkpoint.tensors, decoded)
        if self.network is None or self.inputs is None:
            return None
        by_inputs = InputEvaluator(network=self.network, inputs=self.inputs, device=device, beside=self.beside)
        return by_inputs.compare(self.checkpoint.tensors, decoded)


def read_input(
    path: Path, options: EncodeOptions, *, reads_training_images: bool, inputs: Iterable[Any] | None = None
) -> EncodingInput:
    """Read the checkpoint and the data; the training images only if the recipe uses them.

    `inputs` are batches for the network of an ONNX file, in place of a data set. Raises `NernError` if they are invalid
    or do not fit each other.
    """
    checkpoint = _read(path, options)
    if checkpoint.graph is not None:
        return _read_onnx(path, checkpoint, checkpoint.graph, options, inputs)
    if inputs is not None:
        raise NernError(
            "no_network",
            "Only an ONNX file and `transformers:auto` have a network that takes `inputs`; give the network instead.",
        )
    refuse_dataset_alone(options)
    tied = find_tied(checkpoint.tensors)
    architecture, network, order, preprocessing = None, None, None, None
    if options.architecture is not None:
        architecture = find_architecture(options.architecture)
        has_images = architecture.is_classifier and architecture.preprocessing.input_size
        preprocessing = architecture.preprocessing if has_images else None
        # The network's own order of layers, because a safetensors file does not keep it. Other tensors come after them.
        network = build_network(architecture, checkpoint.tensors)
        order = [name for name in network.state_dict() if name in checkpoint.tensors]
        order += [name for name in checkpoint.tensors if name not in set(order)]
    layers = choose_layers(checkpoint, options, order, tied)
    dataset = None if options.dataset is None else Path(options.dataset)
    test_images, training_images, batches = None, None, None
    if dataset is not None and architecture is not None and network is not None:
        batches = read_inputs(dataset, architecture, network, options.outputs or ())
        if batches is None:
            preprocessing = dataset_preprocessing(dataset, architecture.preprocessing)
            classes = count_classes(network, preprocessing)
            read = _read_images(dataset, "test", preprocessing, classes)
            notes = preprocessing_notes(architecture.preprocessing, preprocessing)
            test_images = replace(read, notes=(*read.notes, *notes))
            training_images = _read_images(dataset, "train", preprocessing, classes) if reads_training_images else None
    digest = digest_checkpoint(path)
    return EncodingInput(
        checkpoint=checkpoint,
        source=Source(sha256=digest.sha256, bytes=digest.bytes),
        layers=layers,
        tied=tied,
        architecture=architecture,
        preprocessing=preprocessing,
        test_images=test_images,
        training_images=training_images,
        network=network if batches is not None else None,
        inputs=batches,
    )


def _read_onnx(
    path: Path, checkpoint: Checkpoint, graph: bytes, options: EncodeOptions, inputs: Iterable[Any] | None
) -> EncodingInput:
    """Read an ONNX file; its network is built only for inputs, because it may have operators that cannot be trained."""
    tied = find_tied(checkpoint.tensors)
    network, batches = None, None
    if options.dataset is not None or inputs is not None:
        network = build_onnx_network(graph, checkpoint.tensors)
        outputs = options.outputs or ()
        if options.dataset is not None:
            batches = read_onnx_inputs(Path(options.dataset), network, outputs)
        else:
            batches = read_batches(inputs or (), network, outputs)
    digest = digest_checkpoint(path)
    return EncodingInput(
        checkpoint=checkpoint,
        # The values may lie in another file.
        source=Source(sha256=digest.sha256, bytes=max(digest.bytes, checkpoint.tensor_bytes)),
        layers=choose_layers(checkpoint, options, list(checkpoint.tensors), tied),
        tied=tied,
        network=network,
        inputs=batches,
    )


def _read(path: Path, options: EncodeOptions) -> Checkpoint:
    name = options.architecture
    return read_checkpoint(path, options.key, None if name is None else structure_of_architecture(name))


def choose_layers(
    checkpoint: Checkpoint, options: EncodeOptions, order: Sequence[str] | None, tied: Mapping[str, str]
) -> tuple[KernelLayer, ...]:
    """Choose the layers to represent, in this order. Raises `NernError` (`no_kernels`, `non_finite`, ...)."""
    layers = select_layers(
        checkpoint.tensors,
        options.represented,
        options.predictor_width,
        kernels_per_coordinate=options.kernels_per_coordinate,
        order=order,
        tied=tied,
    )
    return refuse_non_finite(layers, checkpoint.tensors, options.represented)


def _read_images(dataset: Path, split: str, preprocessing: Preprocessing, classes: int | None) -> ImageSet:
    images = read_image_set(dataset, split, preprocessing)
    if classes is not None:
        refuse_labels(images.labels, classes)
    return images
