"""The network that learns: the teacher's own layers, with other tensors in place of some of theirs."""

from collections.abc import Mapping

from torch import Tensor, nn
from torch.func import functional_call


class Student:
    """A network whose represented tensors are given anew for every batch."""

    def __init__(
        self,
        network: nn.Module,
        *,
        changed: Mapping[str, Tensor] | None = None,
        tied: Mapping[str, str] | None = None,
    ) -> None:
        """`changed` replaces tensors of the network for good; `tied` are the names of tensors that repeat another."""
        # The parameters themselves: `functional_call` knows by their identity which ones layers share.
        self._state = network.state_dict(keep_vars=True) | dict(changed or {})
        self._network = network
        self._tied = dict(tied or {})

    def logits(self, weights: Mapping[str, Tensor], inputs: Tensor) -> Tensor:
        """What the network gives for `inputs` with these weights: float32 (n, classes), differentiable in them."""
        repeated = {alias: weights[name] for alias, name in self._tied.items() if name in weights}
        tensors = {**self._state, **weights, **repeated}
        outputs: Tensor = functional_call(self._network, tensors, (inputs,), strict=True)
        return outputs.float()
