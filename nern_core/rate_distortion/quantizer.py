"""What a checkpoint is quantized into, by whatever numbers its weights are rounded from."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from torch import Tensor, nn

from nern_core.checkpoint import find_tied
from nern_core.codec import Kept
from nern_core.kernels import KernelLayer
from nern_core.quantized.layer import QuantizedLayer
from nern_core.rate_distortion.batch_norm import fold_batch_norm
from nern_core.rate_distortion.parameters import QuantizedParameters
from nern_core.rate_distortion.start import starting_steps
from nern_core.training.student import Student


@dataclass(frozen=True, slots=True)
class Quantized:
    """What goes into the file: the represented layers, the kept tensors, and which tensors repeat another one.

    `parameters` are what the layers and the trained tensors were rounded from.
    """

    layers: tuple[QuantizedLayer, ...]
    kept: dict[str, Kept]
    tied: dict[str, str]
    parameters: QuantizedParameters

    @property
    def integers(self) -> list[Tensor]:
        """The integers (F, C, P) of each layer."""
        return [layer.integers for layer in self.layers]


class Quantizer:
    """The tensors of a checkpoint, sorted by what becomes of them.

    Those of the layers become integers. Batch normalization is folded where the network is known, and with training
    its tensors and all other parameters of the network become 8-bit integers; without it they stay as they are.
    """

    def __init__(
        self,
        checkpoint: Mapping[str, Tensor],
        layers: Sequence[KernelLayer],
        network: nn.Module | None,
        *,
        training: bool,
    ) -> None:
        folded = {} if network is None else fold_batch_norm(network)
        self._tensors = dict(checkpoint)
        self._tensors |= {name: tensor.cpu() for name, tensor in folded.items() if name in self._tensors}
        self.layers = tuple(layers)
        self._folded = folded
        trained = dict(network.named_parameters(remove_duplicate=False)) if training and network is not None else {}
        # What training changes repeats nothing that it does not change, even if they are alike before.
        self._tied = {
            alias: name for alias, name in find_tied(self._tensors).items() if (alias in trained) == (name in trained)
        }
        represented = {layer.name for layer in layers}
        self._kept = {
            name: tensor for name, tensor in self._tensors.items() if name not in represented | self._tied.keys()
        }
        self._trained = [name for name, tensor in self._kept.items() if name in trained and tensor.numel()]
        self.weights = sum(layer.weights for layer in layers)

    def start(self, bits: float) -> QuantizedParameters:
        """Parameters whose integers are next to the weights and take so many bits, or nearly."""
        steps = starting_steps(self.layers, self._tensors, bits)
        trained = {name: self._tensors[name] for name in self._trained}
        return QuantizedParameters(self.layers, self._tensors, steps, trained)

    def rounded(self, parameters: QuantizedParameters) -> Quantized:
        """What these parameters are in the file."""
        layers = parameters.quantized_layers(parameters.integers())
        return Quantized(layers, {**self._kept, **parameters.rounded_vectors()}, self._tied, parameters)

    def student(self, network: nn.Module) -> Student:
        """The network to train, with what is folded in place."""
        return Student(network, changed=self._folded, tied=self._tied)
