"""Quantize a checkpoint's tensors, from trained or untrained numbers."""

from collections.abc import Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field, replace

import torch
from torch import Tensor, nn

from nern_core.codec.layers import CodedLayer
from nern_core.container.kept import Kept
from nern_core.contract.kernel_policy import ALL
from nern_core.formats.kernel_layer import KernelLayer
from nern_core.networks.shared_tensors import shared_names
from nern_core.representations.quantized.batch_norm import fold_batch_norm
from nern_core.representations.quantized.coded_layer import coded_layer
from nern_core.representations.quantized.curvature.measure import Curvature
from nern_core.representations.quantized.layer_shape import shape_of
from nern_core.representations.quantized.parameters import QuantizedParameters
from nern_core.representations.quantized.rate import bits_of
from nern_core.representations.quantized.rounding_plan import Rounding, RoundingPlan, plan_rounding
from nern_core.representations.quantized.vector_rounding import rounded_vectors
from nern_core.tensors.checkpoint import find_tied
from nern_core.tensors.left_out import describe_left_out, left_out
from nern_core.training.student import Student
from nern_core.training.teacher import Teacher

# Of the size of steps in octaves, because the number of bits was estimated from a sample.
_MOST_CORRECTIONS, _SMALLEST_CORRECTION = 2, 0.005
# Bits of the entries of both tables, of steps and of scales, for a filter, channel or position.
_BITS_OF_TABLES = 5


@dataclass(frozen=True, slots=True)
class Quantized:
    """The contents of the file: the represented layers, the kept tensors, and the tied tensors (alias to name).

    `untaught` counts the filters of each layer that no batch of the training has reached, if there are any.
    """

    layers: tuple[CodedLayer, ...]
    kept: dict[str, Kept]
    tied: dict[str, str]
    untaught: Mapping[str, int] = field(default_factory=dict)

    @property
    def integers(self) -> list[Tensor]:
        """Return the integers (F, C, P) of each layer."""
        return [torch.from_numpy(layer.integers) for layer in self.layers]


class Quantizer:
    """The tensors of a checkpoint, sorted by how they are stored.

    Tensors of the layers become integers. Batch normalization is folded if the network is known. If there are inputs,
    its tensors and all other parameters of the network get 8 or 12 bits; without inputs they stay unchanged.
    `kernels` is the option that chose the layers; `left_out` is a sentence on tensors that it has not chosen.
    """

    def __init__(
        self,
        checkpoint: Mapping[str, Tensor],
        layers: Sequence[KernelLayer],
        network: nn.Module | None,
        *,
        has_inputs: bool,
        kernels: Sequence[str] = (ALL,),
    ) -> None:
        folded = {} if network is None else fold_batch_norm(network)
        self._tensors = dict(checkpoint)
        self._tensors |= {name: tensor.cpu() for name, tensor in folded.items() if name in self._tensors}
        self.layers = tuple(layers)
        self._folded = folded
        rounded = dict(network.named_parameters(remove_duplicate=False)) if has_inputs and network is not None else {}
        # A rounded tensor is never tied to an exact one, even if they are equal before.
        self._tied = {
            alias: name for alias, name in find_tied(self._tensors).items() if (alias in rounded) == (name in rounded)
        }
        represented = {layer.name for layer in layers}
        if network is not None:
            self._tied |= _shared(network, self._tensors, rounded.keys() - represented - self._tied.keys())
        self._kept = {
            name: tensor for name, tensor in self._tensors.items() if name not in represented | self._tied.keys()
        }
        self._vectors = {
            name: tensor for name, tensor in self._kept.items() if name in rounded and _can_be_rounded(tensor)
        }
        self.weights = sum(layer.weights for layer in layers)
        self.left_out = describe_left_out(left_out(self._kept, represented, kernels), kernels, hidden_size=0)

    @property
    def tensors(self) -> Mapping[str, Tensor]:
        """Return all tensors in the file, represented or kept."""
        return {name: tensor for name, tensor in self._tensors.items() if name not in self._tied}

    @property
    def vectors(self) -> Mapping[str, Tensor]:
        """Return the tensors that are not represented and are rounded."""
        return self._vectors

    def plan(self, curvature: Curvature | None = None) -> RoundingPlan:
        """Plan the rounding by a measured curvature; without any, by norms and typical inputs."""
        return plan_rounding(self.layers, self._tensors, curvature)

    def start(self, plan: RoundingPlan, bits: float) -> QuantizedParameters:
        """Return parameters whose integers take about `bits` bits, rounded by the plan."""
        rounding = self.rounding(plan, bits)
        return QuantizedParameters(list(rounding.layers), self._vectors, rounding.fine_vectors)

    def rounding(self, plan: RoundingPlan, bits: float) -> Rounding:
        """Return the plan's rounding to integers of about `bits` bits."""
        octaves = plan.octaves_for(bits)
        scaled = list(plan.scaled(octaves))
        for _ in range(_MOST_CORRECTIONS):
            # One bit per weight and octave.
            excess = (bits_of(of_layer.latents for of_layer in scaled) - bits) / self.weights
            if abs(excess) <= _SMALLEST_CORRECTION:
                break
            octaves += excess
            scaled = list(plan.scaled(octaves))
        return Rounding(scaled, plan.fine_vectors(octaves))

    def rounded_to(self, rounding: Rounding) -> Quantized:
        """Return the contents of the file for a rounding."""
        layers = tuple(
            coded_layer(
                of_layer.latents.round().to(torch.int32),
                of_layer.tables.exponents(),
                of_layer.layer,
                is_transformed=of_layer.is_transformed,
            )
            for of_layer in rounding.layers
        )
        return replace(self.without_layers(rounding.fine_vectors), layers=layers)

    def without_layers(self, fine_vectors: frozenset[str] = frozenset()) -> Quantized:
        """Return the contents of the file except the layers."""
        dtypes = {name: vector.dtype for name, vector in self._vectors.items()}
        vectors = {name: vector.float() for name, vector in self._vectors.items()}
        return Quantized((), {**self._kept, **rounded_vectors(vectors, dtypes, fine_vectors)}, self._tied)

    @property
    def bytes_of_tables(self) -> int:
        """Estimate the bytes of the tables of all layers."""
        entries = sum(sum(shape_of(layer).dimensions) for layer in self.layers)
        return round(_BITS_OF_TABLES * entries / 8)

    def rounded(self, parameters: QuantizedParameters) -> Quantized:
        """Return the contents of the file for these parameters."""
        parameters.restore_unreached(self._tensors)
        layers = parameters.quantized_layers(parameters.integers())
        kept: dict[str, Kept] = {**self._kept, **parameters.rounded_vectors()}
        return Quantized(layers, kept, self._tied, parameters.unreached())

    def student(self, teacher: Teacher) -> Student:
        """Return the network to train, with folded batch normalization."""
        return Student(
            teacher.network,
            changed=self._folded,
            tied=self._tied,
            reader=teacher.reader,
            batches=teacher.batches,
        )


def _can_be_rounded(tensor: Tensor) -> bool:
    """Return True for real numbers that are finite in float32; masks of minus infinity, for example, are kept."""
    return tensor.is_floating_point() and bool(tensor.numel()) and bool(tensor.float().isfinite().all())


def _shared(network: nn.Module, tensors: Mapping[str, Tensor], names: AbstractSet[str]) -> dict[str, str]:
    """Return the other names of tensors that the network shares between these names, however small they are."""
    tied = {}
    for name, alike in shared_names(network).items():
        first = next(other for other in alike if other in tensors)
        if {name, first} <= names and name != first and torch.equal(tensors[name], tensors[first]):
            tied[name] = first
    return tied
