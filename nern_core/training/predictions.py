"""The predictor's kernels as a training step sees them: a sampled batch, or all with some gradients."""

from collections.abc import Iterable, Sequence

import torch
from torch import Tensor

from nern_core.kernels import KernelLayer
from nern_core.predictor import FilterSpan, Predictor, filter_spans
from nern_core.sampling import KernelSampler, SamplingConfig
from nern_core.targets import Targets

# Small enough for the activations of a block to stay in the cache, large enough to keep the cores busy.
_KERNELS_PER_BLOCK = 8192


class Predictions:
    """Draws kernels of every head in proportion to its size, and predicts them."""

    def __init__(
        self, config: SamplingConfig, predictor: Predictor, targets: Targets, generator: torch.Generator
    ) -> None:
        self._predictor = predictor
        self._targets = targets
        self._blocks = {head: _blocks(target.layers, targets.layers) for head, target in targets.heads.items()}
        self._all_pass_gradients = config.kernels_per_step >= targets.kernels
        self._samplers = {
            head: KernelSampler(
                config,
                target.kernels,
                max(1, round(config.kernels_per_step * len(target.kernels) / targets.kernels)),
                generator,
            )
            for head, target in targets.heads.items()
        }

    def of_batch(self) -> dict[str, tuple[Tensor, Tensor]]:
        """For each head the indices int64 (m,) of a new batch and its predictions float32 (m, H*W)."""
        drawn = {}
        for head, target in self._targets.heads.items():
            indices = self._samplers[head].draw().to(target.coordinates.device)
            drawn[head] = (indices, self._predictor.at(target.coordinates[indices], head).float())
        return drawn

    def of_all(self) -> dict[str, Tensor]:
        """All kernels of each head, float32 (n, H*W), in coordinate order.

        Those of a new batch pass gradients on (paper, section 3.4); all do if the batch would hold all.
        """
        if self._all_pass_gradients:
            return self._predict_all()
        with torch.no_grad():
            everything = self._predict_all()
        return {
            head: everything[head].index_put((indices,), predictions)
            for head, (indices, predictions) in self.of_batch().items()
        }

    def _predict_all(self) -> dict[str, Tensor]:
        return {
            head: torch.cat([self._predictor.of_filters(block, head) for block in blocks]).float()
            for head, blocks in self._blocks.items()
        }


def _blocks(indices: Iterable[int], layers: Sequence[KernelLayer]) -> list[list[FilterSpan]]:
    """Cut and group the layers of one head into blocks of about `_KERNELS_PER_BLOCK`."""
    blocks: list[list[FilterSpan]] = []
    size = _KERNELS_PER_BLOCK
    for index in indices:
        for span in filter_spans(index, layers[index], _KERNELS_PER_BLOCK):
            kernels = (span.stop - span.start) * layers[index].channels
            if size + kernels > _KERNELS_PER_BLOCK:
                blocks.append([])
                size = 0
            blocks[-1].append(span)
            size += kernels
    return blocks
