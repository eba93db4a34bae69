"""Weights of the kernels' squared errors in reconstruction: the root of their Fisher information."""

import time
from collections.abc import Iterable, Iterator

import torch
from torch import Tensor

from nern_core.networks import Preprocessing
from nern_core.networks.datasets import ImageSet, augment, to_inputs
from nern_core.networks.fisher import kernel_fisher
from nern_core.representations.predicted.targets import Targets, rearrange
from nern_core.training.images import images_per_batch
from nern_core.training.teacher import Teacher

_IMAGES_PER_BATCH = 64
# Limit on the share of a budget in seconds for estimating the Fisher information.
_MOST_FOR_FISHER = 0.1


def kernel_weights(
    count: int, targets: Targets, teacher: Teacher | None, seconds: float | None, generator: torch.Generator
) -> dict[str, Tensor] | None:
    """Return a weight for each kernel of each head, (n,), mean 1 over measured ones; None without data or layers.

    Measured on `count` synthesized or training images, or as many as a budget in seconds allows. The root is used
    because weighting by the information itself was measured to be worse. Layers without Fisher information get the
    mean.
    """
    if teacher is None or teacher.preprocessing is None or not count:
        return None
    if teacher.synthesized is not None:
        batches: Iterable[Tensor] = teacher.synthesized[:count].split(_batch_size(teacher.preprocessing))
    elif teacher.images is not None:
        batches = _augmented_batches(count, teacher.images, teacher.preprocessing, seconds, generator)
    else:
        return None
    on_device = (batch.to(teacher.device) for batch in batches)
    fisher = kernel_fisher(teacher.network, on_device, targets.layers, generator)
    # An error of a target is an error of the weights divided by the layer's scale.
    scales = [scale / targets.scale for scale in targets.scales]
    roots = {
        index: rearrange(fisher[layer.name].flatten().cpu(), targets.orders[index]).sqrt() * scales[index] ** 2
        for index, layer in enumerate(targets.layers)
        if layer.name in fisher
    }
    if not roots:
        return None
    mean = torch.cat(list(roots.values())).mean()
    return {
        head: torch.cat(
            [roots[i] / mean if i in roots else torch.ones(targets.layers[i].kernels) for i in target.layers]
        ).to(target.kernels.device)
        for head, target in targets.heads.items()
    }


def _augmented_batches(
    count: int, images: ImageSet, preprocessing: Preprocessing, seconds: float | None, generator: torch.Generator
) -> Iterator[Tensor]:
    """Yield batches of inputs (n, 3, H, W), `count` images in all, or fewer if the budget in seconds is short.

    Augmented, because the network is so certain about the original images that few of them are informative.
    """
    started = time.perf_counter()
    chosen = torch.randperm(len(images), generator=generator)[:count]
    for rows in chosen.split(_batch_size(preprocessing)):
        yield to_inputs(augment(images.images[rows], preprocessing, generator), preprocessing)
        if seconds is not None and time.perf_counter() - started > _MOST_FOR_FISHER * seconds:
            return


def _batch_size(preprocessing: Preprocessing) -> int:
    return images_per_batch(_IMAGES_PER_BATCH, preprocessing.input_size)
