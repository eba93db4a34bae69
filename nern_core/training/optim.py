"""Optimizers of the predictor: Muon for `fast`, Ranger with the published settings for `paper`, AdamW.

Muon orthogonalizes the momentum of each weight matrix (Newton-Schulz, five steps). torch's own
version multiplies in bfloat16, which a CPU without bfloat16 units emulates: 254 ms per step for a
predictor of hidden size 160 on such a CPU, against 6 ms for the float32 products here.
"""

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from nern_core.training.snapshots import State

# Quintic Newton-Schulz coefficients of Jordan et al. (2024): singular values land in about [0.7, 1.2].
_NEWTON_SCHULZ = (3.4445, -4.7750, 2.0315)
_NEWTON_SCHULZ_STEPS = 5


@dataclass(frozen=True, kw_only=True, slots=True)
class OptimizerConfig:
    """The settings of an optimizer.

    `bias_learning_rate` is for the Adam optimizer that Muon uses for vectors; `weight_decay`, decoupled from the
    gradient, is for Ranger and AdamW. Learning rates fall to `final_learning_rate`.
    """

    name: Literal["muon", "ranger", "adamw"]
    learning_rate: float
    bias_learning_rate: float = 0.0
    weight_decay: float = 0.0
    final_learning_rate: float = 0.0


class Muon(Optimizer):
    """Momentum orthogonalized by Newton-Schulz; only for parameters with two dimensions."""

    def __init__(
        self, parameters: Iterable[Tensor], *, lr: float | Tensor, momentum: float = 0.95, capturable: bool = False
    ) -> None:
        """With `capturable`, a CUDA graph can repeat the steps; `lr` is then a tensor on the GPU, as in torch's own."""
        super().__init__(parameters, {"lr": lr, "momentum": momentum, "capturable": capturable})

    @torch.no_grad()
    def step(self, closure: None = None) -> None:  # type: ignore[override] # closures are not used here
        """Update every matrix that has a gradient."""
        for group in self.param_groups:
            for parameter in group["params"]:
                if parameter.grad is None:
                    continue
                state = self.state[parameter]
                if not state:
                    state["momentum"] = torch.zeros_like(parameter)
                momentum = state["momentum"].lerp_(parameter.grad, 1 - group["momentum"])
                update = orthogonalize(parameter.grad.lerp(momentum, group["momentum"]))
                rows, columns = parameter.shape
                parameter.sub_(update * (group["lr"] * math.sqrt(max(1.0, rows / columns))))


def orthogonalize(matrix: Tensor) -> Tensor:
    """Move the singular values of a matrix towards 1, keeping its singular vectors; float32."""
    a, b, c = _NEWTON_SCHULZ
    tall = matrix.shape[0] > matrix.shape[1]
    x = matrix.T if tall else matrix
    x = x / (x.norm() + 1e-7)
    for _ in range(_NEWTON_SCHULZ_STEPS):
        gram = x @ x.T
        x = torch.addmm(x, torch.addmm(gram, gram, gram, beta=b, alpha=c), x, beta=a)
    return x.T if tall else x


def cosine_decay(fraction: float) -> float:
    """Return the cosine decay factor, 1 to 0, at this fraction of a schedule, 0 to 1."""
    return (1 + math.cos(math.pi * min(fraction, 1.0))) / 2


class Optimizers:
    """Optimizers whose learning rates decay from their initial values along a cosine."""

    def __init__(self, optimizers: Sequence[Optimizer], rate: Callable[[float, float], float]) -> None:
        """`rate(peak, decay)` returns the learning rate; decay falls from 1 to 0."""
        self.optimizers = tuple(optimizers)
        self._rate = rate
        self._peaks = [float(group["lr"]) for group in self._groups]

    def state(self) -> State:
        """Return the parameters and the optimizers' states."""
        return {
            "parameters": [
                [list(group["params"]) for group in optimizer.param_groups] for optimizer in self.optimizers
            ],
            "optimizers": [optimizer.state_dict() for optimizer in self.optimizers],
        }

    @torch.no_grad()
    def restore(self, state: State) -> None:
        """Restore a state; the parameters change in place."""
        for optimizer, remembered, saved in zip(self.optimizers, state["optimizers"], state["parameters"], strict=True):
            rates = [group["lr"] for group in optimizer.param_groups]
            for group, values in zip(optimizer.param_groups, saved, strict=True):
                for parameter, value in zip(group["params"], values, strict=True):
                    parameter.copy_(value)
            optimizer.load_state_dict(remembered)
            # A learning rate in GPU memory stays there; its value is set before the next step.
            for group, rate in zip(optimizer.param_groups, rates, strict=True):
                group["lr"] = rate

    @property
    def capturable(self) -> bool:
        """Return True if a CUDA graph can repeat `step`."""
        return all(group.get("capturable", False) for group in self._groups)

    def schedule(self, fraction: float) -> None:
        """Set the learning rates of this fraction of the schedule, 0 to 1."""
        decay = cosine_decay(fraction)
        for group, peak in zip(self._groups, self._peaks, strict=True):
            rate = self._rate(peak, decay)
            if isinstance(group["lr"], Tensor):
                group["lr"].fill_(rate)
            else:
                group["lr"] = rate

    def step(self) -> None:
        """Step, then clear the gradients. Where these are not finite they count as 0, and parameters stay finite."""
        for parameter in (member for group in self._groups for member in group["params"]):
            if parameter.grad is not None:
                parameter.grad.nan_to_num_(nan=0.0, posinf=0.0, neginf=0.0)
        for optimizer in self.optimizers:
            optimizer.step()
        self.clear_gradients()

    def clear_gradients(self) -> None:
        """Clear the gradients of all parameters."""
        for optimizer in self.optimizers:
            optimizer.zero_grad(set_to_none=True)

    @property
    def _groups(self) -> list[dict[str, Any]]:
        return [group for optimizer in self.optimizers for group in optimizer.param_groups]


def make_optimizers(config: OptimizerConfig, module: nn.Module) -> Optimizers:
    """Make the optimizers of one training phase, for a module's parameters on their current device."""
    parameters = [p for p in module.parameters() if p.requires_grad]
    device, final = parameters[0].device, config.final_learning_rate
    peak, bias_peak = (learning_rate(value, device) for value in (config.learning_rate, config.bias_learning_rate))
    on_gpu = device.type == "cuda"
    optimizers: list[Optimizer]
    if config.name == "muon":
        optimizers = [
            Muon((p for p in parameters if p.ndim == 2), lr=peak, capturable=on_gpu),
            torch.optim.Adam((p for p in parameters if p.ndim != 2), lr=bias_peak, capturable=on_gpu),
        ]
    elif config.name == "adamw":
        optimizers = [torch.optim.AdamW(parameters, lr=peak, weight_decay=config.weight_decay, capturable=on_gpu)]
    else:
        optimizers = [_ranger(parameters, config)]
    return Optimizers(optimizers, lambda peak, decay: final + (peak - final) * decay)


def learning_rate(value: float, device: torch.device) -> float | Tensor:
    """Make a learning rate for parameters on this device; on a GPU it is a tensor there, which CUDA graphs can read."""
    return torch.tensor(value, device=device) if device.type == "cuda" else value


def _ranger(parameters: Iterable[Tensor], config: OptimizerConfig) -> Optimizer:
    """Make the authors' Ranger 20.4.11; gradient centralization stays on, as it was in their runs.

    Its first steps use the momentum alone; without `degenerated_to_sgd` the library's first steps go uphill.
    """
    # Imported only for `paper`, because the import takes half as long as that of torch.
    from pytorch_optimizer import Ranger

    return Ranger(
        parameters,
        lr=config.learning_rate,
        betas=(0.5, 0.999),
        eps=1e-5,
        weight_decay=config.weight_decay,
        weight_decouple=True,
        use_gc=True,
        degenerated_to_sgd=True,
    )
