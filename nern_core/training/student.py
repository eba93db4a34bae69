"""The student network: the teacher's own layers, with some of their tensors replaced."""

from collections.abc import Mapping

from torch import Tensor, nn
from torch.func import functional_call


class Student:
    """A network whose represented tensors are replaced for every batch."""

    def __init__(
        self,
        network: nn.Module,
        *,
        changed: Mapping[str, Tensor] | None = None,
        tied: Mapping[str, str] | None = None,
    ) -> None:
        """`changed` permanently replaces tensors of the network; `tied` maps repeating tensors to the repeated one."""
        # The parameters themselves, because `functional_call` recognizes shared ones by identity.
        self._state = network.state_dict(keep_vars=True) | dict(changed or {})
        self._network = network
        self._tied = dict(tied or {})

    def logits(self, weights: Mapping[str, Tensor], inputs: Tensor) -> Tensor:
        """Return the network's outputs for `inputs` with these weights: float32 (n, classes), differentiable."""
        repeated = {alias: weights[name] for alias, name in self._tied.items() if name in weights}
        tensors = {**self._state, **weights, **repeated}
        outputs: Tensor = functional_call(self._network, tensors, (inputs,), strict=True)
        return outputs.float()
