"""The predicted kernels in a training step: a sampled batch, or all kernels, some of them with gradients."""

from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import Literal

import torch
from torch import Tensor

from nern_core.formats.kernel_layer import KernelLayer
from nern_core.representations.predicted.predictor import FilterSpan, Predictor, filter_spans
from nern_core.representations.predicted.sampling import KernelSampler, SamplingConfig
from nern_core.representations.predicted.targets import Targets
from nern_core.training.snapshots import State

# Small enough for a block's activations to stay in a CPU cache, large enough to keep the cores busy.
_KERNELS_PER_BLOCK = {"cpu": 2**13, "cuda": 2**16}
# Limit on kernels that pass gradients times hidden units, which one layer of the predictor keeps for its gradient. All
# kernels of ResNet56 at hidden size 360 take half of it; the activations of five layers multiply it to some gigabytes.
_MOST_ACTIVATIONS = 2**26


class Predictions:
    """Draws kernels of every head in proportion to its size, and predicts them.

    Batches are limited to what memory allows for a predictor of this size. Kernels outside of a batch are predicted
    again in every step (`refresh="all"`, published), or keep their last drawn prediction (`"sampled"`): predicting all
    kernels of a ResNet18 once takes 12 TFLOP. `made` counts all predicted kernels.
    """

    def __init__(
        self,
        config: SamplingConfig,
        predictor: Predictor,
        targets: Targets,
        generator: torch.Generator,
        refresh: Literal["all", "sampled"] = "all",
    ) -> None:
        if config.in_batches:
            most = max(1, _MOST_ACTIVATIONS // predictor.config.hidden_size)
            config = replace(config, kernels_per_step=min(config.kernels_per_step, most))
        self._predictor = predictor
        self._targets = targets
        self.device = next(predictor.parameters()).device
        most = _KERNELS_PER_BLOCK[self.device.type]
        self._blocks = {head: _blocks(target.layers, targets.layers, most) for head, target in targets.heads.items()}
        self._all_pass_gradients = config.takes_all(targets.kernels)
        self._samplers = {
            head: KernelSampler(
                config,
                target.kernels,
                [targets.layers[index].kernels for index in target.layers],
                max(1, round(config.kernels_per_step * len(target.kernels) / targets.kernels)),
                generator,
            )
            for head, target in targets.heads.items()
        }
        self._refresh = refresh
        self._latest: dict[str, Tensor] | None = None
        self.made = 0

    def state(self) -> State:
        """Return the state of the draws, the count, and the latest predictions if they are reused."""
        latest = self._latest if self._refresh == "sampled" else None
        samplers = {head: sampler.state() for head, sampler in self._samplers.items()}
        return {"samplers": samplers, "latest": latest, "made": self.made}

    def restore(self, state: State) -> None:
        """Restore a state."""
        for head, sampler in self._samplers.items():
            sampler.restore(state["samplers"][head])
        latest = state["latest"]
        self.made = state["made"]
        self._latest = None if latest is None else {head: kernels.to(self.device) for head, kernels in latest.items()}

    def draw_batch(self) -> tuple[Tensor, ...]:
        """Draw a new batch for `of_batch`: the indices int64 (m,) for each head, on the CPU."""
        return self._counted(sampler.draw() for sampler in self._samplers.values())

    def of_batch(self, drawn: Iterable[Tensor]) -> dict[str, tuple[Tensor, Tensor]]:
        """Return the drawn indices int64 (m,) and their predictions float32 (m, kernel values), for each head."""
        indices = {head: of_head.to(self.device) for head, of_head in zip(self._targets.heads, drawn, strict=True)}
        return {head: (of_head, self._predict(of_head, head)) for head, of_head in indices.items()}

    def draw_for_all(self) -> tuple[Tensor, ...]:
        """Draw for `of_all`: for each head the indices int64 (m,) that pass gradients, or () if all do."""
        if self._all_pass_gradients or self._renews_all:
            self.made += self._targets.kernels
        if self._all_pass_gradients:
            return ()
        # Each kernel once, because the order of two writes to the same place would depend on the threads.
        return self._counted(sampler.draw().unique() for sampler in self._samplers.values())

    def of_all(self, drawn: Iterable[Tensor]) -> dict[str, Tensor]:
        """Predict all kernels of each head, float32 (n, kernel values), in coordinate order.

        The drawn kernels pass gradients (paper, section 3.4); all do if the batch would hold all kernels.
        """
        if self._all_pass_gradients:
            return self._predict_all()
        if self._renews_all:
            with torch.no_grad():
                self._latest = self._predict_all()
        assert self._latest is not None
        kernels = {}
        for head, (indices, predictions) in self.of_batch(drawn).items():
            kernels[head] = self._latest[head].index_put((indices,), predictions)
            self._latest[head][indices] = predictions.detach()
        return kernels

    @property
    def _renews_all(self) -> bool:
        """Return True if the kernels that pass no gradients are predicted again, too."""
        return self._latest is None or self._refresh == "all"

    def _counted(self, drawn: Iterable[Tensor]) -> tuple[Tensor, ...]:
        indices = tuple(drawn)
        self.made += sum(len(of_head) for of_head in indices)
        return indices

    def _predict(self, indices: Tensor, head: str) -> Tensor:
        return self._predictor.at(self._targets.heads[head].coordinates[indices], head).float()

    def _predict_all(self) -> dict[str, Tensor]:
        return {
            head: torch.cat([self._predictor.of_filters(block, head) for block in blocks]).float()
            for head, blocks in self._blocks.items()
        }


def _blocks(indices: Iterable[int], layers: Sequence[KernelLayer], most_kernels: int) -> list[list[FilterSpan]]:
    """Cut and group the layers of one head into blocks of about `most_kernels` kernels."""
    blocks: list[list[FilterSpan]] = []
    size = most_kernels
    for index in indices:
        for span in filter_spans(index, layers[index], most_kernels):
            kernels = span.kernels_of(layers[index])
            if size + kernels > most_kernels:
                blocks.append([])
                size = 0
            blocks[-1].append(span)
            size += kernels
    return blocks
