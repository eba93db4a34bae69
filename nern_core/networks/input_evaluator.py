"""Read the inputs of any network from a data set, and measure its checkpoints on those that are held out."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from torch import Tensor, nn

from nern_core.networks.architecture import Architecture
from nern_core.networks.arrays import array_batches, has_arrays
from nern_core.networks.datasets import dataset_preprocessing, has_labels, preprocessing_notes
from nern_core.networks.evaluate import Evaluator, count_classes, open_evaluator, refuse_input_size
from nern_core.networks.fidelity import Quality, compare_networks
from nern_core.networks.image_inputs import read_image_inputs
from nern_core.networks.input_set import InputSet, floating_type, read_batches
from nern_core.networks.registry import build_network, copy_network, find_architecture, load_weights

_CPU = torch.device("cpu")


@dataclass(frozen=True, kw_only=True, slots=True)
class InputEvaluator:
    """Measures checkpoints of one network on the same held-out inputs. The network itself stays unchanged.

    `beside` are the names of tensors that checkpoints have beside those of the network.
    """

    network: nn.Module
    inputs: InputSet
    device: torch.device
    beside: Collection[str] = ()

    @property
    def notes(self) -> tuple[str, ...]:
        """Return sentences on how the inputs were read."""
        return self.inputs.notes

    def compare(self, original: Mapping[str, Tensor], changed: Mapping[str, Tensor]) -> Quality:
        """Measure the network with changed tensors. Raises `NernError` if they or the inputs do not fit."""
        first, second = (self._with(tensors) for tensors in (original, changed))
        quality = compare_networks(first, second, self.inputs.held_out, self.inputs.reader(first))
        fidelity = quality.fidelity.model_copy(update={"is_held_out": self.inputs.is_held_out})
        return replace(quality, fidelity=fidelity)

    def measure(self) -> Quality:
        """Measure the network itself: its accuracy, or its perplexity."""
        network = copy_network(self.network, self.device)
        return compare_networks(network, network, self.inputs.held_out, self.inputs.reader(network))

    def _with(self, tensors: Mapping[str, Tensor]) -> nn.Module:
        network = copy_network(self.network, self.device)
        load_weights(network, {name: tensor for name, tensor in tensors.items() if name not in self.beside})
        return network


def read_inputs(
    dataset: Path, architecture: Architecture, network: nn.Module, outputs: Sequence[str] = ()
) -> InputSet | None:
    """Read a data set as batches of inputs; None for labelled images of a classifier, unless `outputs` are compared.

    Raises `NernError` if the data set is invalid or does not fit the network.
    """
    if has_arrays(dataset):
        return read_batches(array_batches(dataset, dtype=floating_type(network)), network, outputs)
    preprocessing = dataset_preprocessing(dataset, architecture.preprocessing)
    refuse_input_size(network, architecture, preprocessing)
    is_classifier = architecture.is_classifier and count_classes(network, preprocessing) is not None
    if not outputs and is_classifier and has_labels(dataset):
        return None
    read = read_image_inputs(dataset, preprocessing)
    notes = preprocessing_notes(architecture.preprocessing, preprocessing)
    return replace(read, outputs=tuple(outputs), notes=(*read.notes, *notes))


def open_any_evaluator(
    architecture_name: str,
    tensors: Mapping[str, Tensor],
    dataset: Path,
    *,
    outputs: Sequence[str] = (),
    device: torch.device = _CPU,
) -> Evaluator | InputEvaluator:
    """Open the test split of labelled images, or the held-out inputs of another data set.

    `tensors` are those of a checkpoint. Raises `NernError` as `read_inputs` does.
    """
    architecture = find_architecture(architecture_name)
    network = build_network(architecture, tensors)
    inputs = read_inputs(dataset, architecture, network, outputs)
    if inputs is None:
        return open_evaluator(architecture_name, dataset, device=device)
    return InputEvaluator(network=network, inputs=inputs, device=device)
