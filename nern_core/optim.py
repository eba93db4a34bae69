"""Optimizers of the predictor: Muon for `fast`, Ranger with the published settings for `paper`, AdamW.

Muon orthogonalizes the momentum of each weight matrix (Newton-Schulz, five steps). torch's own
version multiplies in bfloat16, which a CPU without bfloat16 units emulates: 254 ms per step for a
predictor of hidden size 160 on such a CPU, against 6 ms for the float32 products here.
"""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from nern_core.snapshots import State

# Quintic Newton-Schulz coefficients of Jordan et al. (2024): singular values land in about [0.7, 1.2].
_NEWTON_SCHULZ = (3.4445, -4.7750, 2.0315)
_NEWTON_SCHULZ_STEPS = 5


@dataclass(frozen=True, kw_only=True, slots=True)
class OptimizerConfig:
    """One optimizer setting.

    `bias_learning_rate` is for Muon's companion Adam on the vectors; `weight_decay`, decoupled from the
    gradient, for Ranger and AdamW. Learning rates fall to `final_learning_rate`.
    """

    name: Literal["muon", "ranger", "adamw"]
    learning_rate: float
    bias_learning_rate: float = 0.0
    weight_decay: float = 0.0
    final_learning_rate: float = 0.0


class Muon(Optimizer):
    """Momentum orthogonalized by Newton-Schulz; for parameters with two dimensions only."""

    def __init__(self, parameters: Iterable[Tensor], *, lr: float, momentum: float = 0.95) -> None:
        super().__init__(parameters, {"lr": lr, "momentum": momentum})

    @torch.no_grad()
    def step(self, closure: None = None) -> None:  # type: ignore[override] # no closure is ever used here
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
                parameter.add_(update, alpha=-group["lr"] * math.sqrt(max(1.0, rows / columns)))


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
    """What is left of a peak learning rate at this fraction of a schedule, 0 to 1."""
    return (1 + math.cos(math.pi * min(fraction, 1.0))) / 2


def optimizers_state(optimizers: Sequence[Optimizer]) -> State:
    """The parameters of these optimizers, and what they remember."""
    return {
        "parameters": [[list(group["params"]) for group in optimizer.param_groups] for optimizer in optimizers],
        "optimizers": [optimizer.state_dict() for optimizer in optimizers],
    }


@torch.no_grad()
def restore_optimizers(optimizers: Sequence[Optimizer], state: State) -> None:
    """Give the optimizers and their parameters, in place, a state back."""
    for optimizer, remembered, saved in zip(optimizers, state["optimizers"], state["parameters"], strict=True):
        for group, values in zip(optimizer.param_groups, saved, strict=True):
            for parameter, value in zip(group["params"], values, strict=True):
                parameter.copy_(value)
        optimizer.load_state_dict(remembered)


class Optimizers:
    """The optimizers of one training phase, with cosine decay of every learning rate."""

    def __init__(self, config: OptimizerConfig, module: nn.Module) -> None:
        parameters = [p for p in module.parameters() if p.requires_grad]
        self._final = config.final_learning_rate
        self.optimizers: list[Optimizer]
        if config.name == "muon":
            self.optimizers = [
                Muon((p for p in parameters if p.ndim == 2), lr=config.learning_rate),
                torch.optim.Adam((p for p in parameters if p.ndim != 2), lr=config.bias_learning_rate),
            ]
        elif config.name == "adamw":
            self.optimizers = [torch.optim.AdamW(parameters, lr=config.learning_rate, weight_decay=config.weight_decay)]
        else:
            self.optimizers = [_ranger(parameters, config)]
        self._peaks = [[group["lr"] for group in optimizer.param_groups] for optimizer in self.optimizers]

    def state(self) -> State:
        """The parameters, and what the optimizers remember of their gradients."""
        return optimizers_state(self.optimizers)

    def restore(self, state: State) -> None:
        """Go on from a state."""
        restore_optimizers(self.optimizers, state)

    def step(self, fraction: float) -> None:
        """Step with the learning rates of the point `fraction` (0 to 1) of the phase, then clear the gradients."""
        decay = cosine_decay(fraction)
        for optimizer, peaks in zip(self.optimizers, self._peaks, strict=True):
            for group, peak in zip(optimizer.param_groups, peaks, strict=True):
                group["lr"] = self._final + (peak - self._final) * decay
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)


def _ranger(parameters: Iterable[Tensor], config: OptimizerConfig) -> Optimizer:
    """The authors' Ranger 20.4.11; gradient centralization stays on, as it in fact was there.

    Its first steps follow the momentum alone; without `degenerated_to_sgd` the library takes them uphill.
    """
    # Loaded by `paper` alone: it takes half as long as torch itself.
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
