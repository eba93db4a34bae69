"""Quantize a checkpoint's tensors, from trained or untrained numbers."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from torch import Tensor, nn

from nern_core.container import Kept
from nern_core.container.step_grid import exponents_of
from nern_core.contract.kernel_policy import ALL
from nern_core.representations.quantized.balance import FEWEST_VALUES_OF_A_KERNEL, round_balanced
from nern_core.representations.quantized.batch_norm import fold_batch_norm
from nern_core.representations.quantized.layer import QuantizedLayer, quantized_layer
from nern_core.representations.quantized.parameters import QuantizedParameters, numbers_of_steps
from nern_core.representations.quantized.start import RelativeSteps, filter_norms, relative_steps, starting_steps
from nern_core.tensors.checkpoint import find_tied
from nern_core.tensors.kernels import KernelLayer
from nern_core.tensors.left_out import describe_left_out, left_out
from nern_core.training.student import Student
from nern_core.training.teacher import Teacher


@dataclass(frozen=True, slots=True)
class Quantized:
    """The contents of the file: the represented layers, the kept tensors, and the tied tensors (alias to name).

    `untaught` counts the filters of each layer that no batch of the training has reached, if there are any.
    """

    layers: tuple[QuantizedLayer, ...]
    kept: dict[str, Kept]
    tied: dict[str, str]
    untaught: Mapping[str, int] = field(default_factory=dict)

    @property
    def integers(self) -> list[Tensor]:
        """Return the integers (F, C, P) of each layer."""
        return [layer.integers for layer in self.layers]


class Quantizer:
    """The tensors of a checkpoint, sorted by how they are stored.

    Tensors of the layers become integers. Batch normalization is folded if the network is known. With training, its
    tensors and all other parameters of the network become 8-bit integers; without training they stay unchanged.
    `kernels` is the option that chose the layers; `left_out` is a sentence on tensors that it has not chosen.
    """

    def __init__(
        self,
        checkpoint: Mapping[str, Tensor],
        layers: Sequence[KernelLayer],
        network: nn.Module | None,
        *,
        training: bool,
        kernels: Sequence[str] = (ALL,),
    ) -> None:
        folded = {} if network is None else fold_batch_norm(network)
        self._tensors = dict(checkpoint)
        self._tensors |= {name: tensor.cpu() for name, tensor in folded.items() if name in self._tensors}
        self.layers = tuple(layers)
        self._folded = folded
        trained = dict(network.named_parameters(remove_duplicate=False)) if training and network is not None else {}
        # A trained tensor is never tied to an untrained one, even if they are equal before training.
        self._tied = {
            alias: name for alias, name in find_tied(self._tensors).items() if (alias in trained) == (name in trained)
        }
        represented = {layer.name for layer in layers}
        self._kept = {
            name: tensor for name, tensor in self._tensors.items() if name not in represented | self._tied.keys()
        }
        self._trained = [name for name, tensor in self._kept.items() if name in trained and tensor.numel()]
        self.weights = sum(layer.weights for layer in layers)
        self.left_out = describe_left_out(left_out(self._kept, represented, kernels), kernels, hidden_size=0)

    @property
    def tensors(self) -> Mapping[str, Tensor]:
        """Return all tensors in the file, represented or kept."""
        return {name: tensor for name, tensor in self._tensors.items() if name not in self._tied}

    def start(self, bits: float) -> QuantizedParameters:
        """Return parameters whose integers are nearest to the weights and take about `bits` bits."""
        steps = starting_steps(self.layers, self._tensors, bits)
        trained = {name: self._tensors[name] for name in self._trained}
        return QuantizedParameters(self.layers, self._tensors, steps, trained)

    def rounded(self, parameters: QuantizedParameters) -> Quantized:
        """Return the contents of the file for these parameters."""
        layers = parameters.quantized_layers(parameters.integers())
        kept: dict[str, Kept] = {**self._kept, **parameters.rounded_vectors()}
        return Quantized(layers, kept, self._tied, parameters.unreached())

    def filter_norms(self) -> list[Tensor]:
        """Return the root mean square of the weights of each filter, float64 (F,) for each layer."""
        return [filter_norms(self._tensors[layer.name], layer) for layer in self.layers]

    def relative_steps(self) -> RelativeSteps:
        """Return the relative sizes of the steps of all filters."""
        return relative_steps(self.layers, self._tensors)

    def balanced(self, steps: Sequence[Tensor]) -> Quantized:
        """Round the weights to these steps (F,) of the grid, so that errors cancel; everything else stays exact."""
        layers = tuple(
            self._balanced_layer(layer, of_layer) for layer, of_layer in zip(self.layers, steps, strict=True)
        )
        return Quantized(layers, dict(self._kept), self._tied)

    def _balanced_layer(self, layer: KernelLayer, steps: Tensor) -> QuantizedLayer:
        values = numbers_of_steps(self._tensors[layer.name], layer, steps)
        by_kernel = layer.tile is None and layer.kernel_values >= FEWEST_VALUES_OF_A_KERNEL
        return quantized_layer(round_balanced(values, by_kernel=by_kernel), exponents_of(steps), layer)

    def student(self, teacher: Teacher) -> Student:
        """Return the network to train, with folded batch normalization."""
        return Student(teacher.network, changed=self._folded, tied=self._tied, reader=teacher.reader)
