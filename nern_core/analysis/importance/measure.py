"""Measure the importance of the kernels of a checkpoint."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

import torch
from torch import Tensor

from nern_core.analysis.comparison import Comparison, evaluator_of
from nern_core.analysis.importance.model import Criterion, Granularity, Importance, PruningPoint
from nern_core.analysis.importance.pruning import SHARES, possible_orders, pruning_points
from nern_core.analysis.importance.ranking import correlate, rank
from nern_core.analysis.importance.scores import Scores, score
from nern_core.contract.progress import OnProgress, Phase, Progress
from nern_core.networks import build_network
from nern_core.networks.datasets import read_image_set
from nern_core.networks.evaluate import Evaluator
from nern_core.networks.fisher import kernel_fisher
from nern_core.tensors.digest import file_sha256
from nern_core.training.images import StoredImages, images_per_batch

_CPU = torch.device("cpu")
_FISHER_IMAGES = 512
_FISHER_IMAGES_PER_BATCH = 64
_SEED = 0


@dataclass(frozen=True, kw_only=True, slots=True)
class Measured:
    """The result of a measurement: the document and the scores of all kernels and filters."""

    importance: Importance
    scores: Scores


def measure(
    comparison: Comparison,
    *,
    architecture: str | None = None,
    dataset: Path | None = None,
    images: int | None = None,
    device: torch.device = _CPU,
    on_progress: OnProgress = lambda progress: None,
) -> Measured:
    """Measure the importance of a checkpoint's kernels and filters, given its encoding.

    With `dataset`, the Fisher information is measured on its training images and the pruning curve on `images` images
    of its test split (None: all); `architecture` is needed if the encoding names none. Progress counts the points of
    the curve. Raises `NernError` if the data do not fit.
    """
    on_progress(Progress(phase=Phase.IMPORTANCE))
    document, original = comparison.encoding.document, comparison.original.tensors
    layers = document.layers
    evaluator = (
        None
        if dataset is None
        else evaluator_of(comparison.encoding, architecture, dataset, images=images, device=device)
    )
    fisher = {} if evaluator is None or dataset is None else _fisher(comparison, evaluator, dataset)
    scores = score(layers, original, comparison.decoded.tensors, fisher)
    points: list[PruningPoint] = []
    if evaluator is not None:
        total = len(Granularity) * len(possible_orders(scores)) * len(SHARES)
        for point in pruning_points(original, document.tied, scores, evaluator):
            points.append(point)
            done = len(points)
            on_progress(Progress(phase=Phase.IMPORTANCE, step=done, total=total, fraction=done / total))
    on_progress(Progress(phase=Phase.IMPORTANCE, step=len(points), total=len(points), fraction=1.0))
    importance = Importance(
        nern_version=version("nern"),
        source_sha256=document.source.sha256,
        encoding_sha256=file_sha256(comparison.path),
        architecture=document.architecture if evaluator is None else evaluator.architecture.name,
        kernels=sum(layer.kernels for layer in layers),
        filters=sum(layer.filters for layer in layers),
        images=0 if evaluator is None else len(evaluator.images),
        rankings=rank(scores),
        correlations=correlate(scores),
        pruning=tuple(points),
        remarks=tuple(_remarks(scores, measured=evaluator is not None)),
    )
    return Measured(importance=importance, scores=scores)


def _fisher(comparison: Comparison, evaluator: Evaluator, dataset: Path) -> Mapping[str, Tensor]:
    """Return the Fisher information of the kernels, measured on training images; accuracies use the test images."""
    preprocessing, device = evaluator.preprocessing, evaluator.device
    count = images_per_batch(_FISHER_IMAGES_PER_BATCH, preprocessing.input_size)
    generator = torch.Generator().manual_seed(_SEED)
    pixels = read_image_set(dataset, "train", preprocessing).images
    images = StoredImages(pixels, preprocessing, count, generator, device)
    network = build_network(evaluator.architecture, comparison.original.tensors, device)
    batches = (images.draw() for _ in range(-(-_FISHER_IMAGES // count)))
    return kernel_fisher(network, batches, comparison.encoding.document.layers, generator)


def _remarks(scores: Scores, *, measured: bool) -> Iterator[str]:
    if not measured:
        yield "No Fisher information and no pruning curve: they need an architecture and a data set."
    elif Criterion.FISHER not in scores.complete:
        known = len(scores.by_layer[Granularity.KERNEL, Criterion.FISHER])
        yield (
            f"The Fisher information is known for only {known} of {len(scores.layers)} layers, so it is not used for "
            "ranking or pruning."
        )
