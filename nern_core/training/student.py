"""The student network: the teacher's own layers, with some of their tensors replaced."""

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn
from torch.func import functional_call

from nern_core.networks.failed_batches import failures_named
from nern_core.networks.input_batch import InputBatch
from nern_core.networks.model_inputs import ModelInputs, arguments_of
from nern_core.networks.outputs import LOGITS, OutputReader
from nern_core.networks.shared_tensors import shared_names, with_shared


class Student:
    """A network whose represented tensors are replaced for every batch."""

    def __init__(
        self,
        network: nn.Module,
        *,
        changed: Mapping[str, Tensor] | None = None,
        tied: Mapping[str, str] | None = None,
        reader: OutputReader = LOGITS,
        batches: Sequence[InputBatch] = (),
    ) -> None:
        """`changed` permanently replaces tensors of the network; `tied` maps repeating tensors to the repeated one.

        `reader` reads the outputs, as those of the teacher are read. `batches` are those of the user's own data.
        """
        # The parameters themselves, because `functional_call` recognizes shared ones by identity.
        # A state dict lacks buffers that are not saved.
        buffers = dict(network.named_buffers(remove_duplicate=False))
        state = buffers | network.state_dict(keep_vars=True) | dict(changed or {})
        self._state = {name: tensor for name, tensor in state.items() if isinstance(tensor, Tensor)}
        self._network = network
        self._tied = dict(tied or {})
        self._shared = shared_names(network)
        self._reader = reader
        self.batches = tuple(batches)

    def logits(self, weights: Mapping[str, Tensor], inputs: ModelInputs) -> Tensor:
        """Return the network's outputs for `inputs` with these weights, differentiable, as `OutputReader` does.

        Raises `NernError` (`bad_data`) if the network fails for a batch.
        """
        repeated = {alias: weights[name] for alias, name in self._tied.items() if name in weights}
        given = with_shared({**weights, **repeated}, self._shared)
        # Weights are float32; a network may compute in another type.
        tensors = {**self._state, **{name: weight.to(self._state[name].dtype) for name, weight in given.items()}}
        positional, keywords = arguments_of(inputs)

        def run() -> object:
            return functional_call(self._network, tensors, positional, keywords, strict=True)

        if not self.batches:
            return self._reader.read(self._network, run, inputs)
        with failures_named(inputs, self.batches, is_training=torch.is_grad_enabled()):
            return self._reader.read(self._network, run, inputs)
