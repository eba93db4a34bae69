"""Make the report of an encoding from its finished file and the checkpoint that it was made from."""

import math
from collections.abc import Mapping, Sequence
from importlib.metadata import version

from torch import Tensor

from nern_core.codec import QuantizedWeights, Sizes, measure_sizes
from nern_core.digest import file_sha256
from nern_core.kernels import KernelLayer
from nern_core.metrics import Metrics
from nern_core.pair import Pair
from nern_core.report.model import CurvePoint, LayerReport, Report, SizeTrial

_SMALLEST_NORM = 1e-12


def make_report(
    pair: Pair,
    *,
    original_accuracy: float | None,
    reconstructed_accuracy: float | None,
    curve: Sequence[CurvePoint],
    size_trials: Sequence[SizeTrial] = (),
) -> Report:
    """Measure a checkpoint's encoding and put the figures together. It has no seconds yet: see `with_seconds`."""
    document, layers = pair.encoding.document, pair.encoding.document.layers
    original, decoded = pair.original.tensors, pair.decoded.tensors
    predicted = None if isinstance(pair.encoding.weights, QuantizedWeights) else pair.encoding.predicted
    names = [layer.name for layer in layers]
    sizes = measure_sizes(pair.path)
    return Report(
        nern_version=version("nern"),
        source_sha256=document.source.sha256,
        encoding_sha256=file_sha256(pair.path),
        options=document.options,
        hidden_size=None if predicted is None else predicted[0].predictor.hidden_size,
        represented_weights=sum(layer.weights for layer in layers),
        represented_share=_represented_share(layers, document.tied, original),
        predictor_parameters=0 if predicted is None else sum(p.numel() for p in predicted[1].parameters.values()),
        header_bytes=sizes.header,
        metrics=_make_metrics(
            source_bytes=document.source.bytes,
            sizes=sizes,
            error=relative_error([original[n] for n in names], [decoded[n] for n in names]),
            original_accuracy=original_accuracy,
            reconstructed_accuracy=reconstructed_accuracy,
            notes=pair.original.notes,
        ),
        layers=_layer_reports(layers, original, decoded),
        curve=tuple(curve),
        size_trials=tuple(size_trials),
    )


def relative_error(original: Sequence[Tensor], decoded: Sequence[Tensor]) -> float:
    """Norm of the differences over the norm of the originals, in float64."""
    error = sum(float((d.double() - o.double()).square().sum()) for o, d in zip(original, decoded, strict=True))
    norm = sum(float(o.double().square().sum()) for o in original)
    return math.sqrt(error / max(norm, _SMALLEST_NORM))


def _layer_reports(
    layers: Sequence[KernelLayer], original: Mapping[str, Tensor], decoded: Mapping[str, Tensor]
) -> tuple[LayerReport, ...]:
    weights = sum(layer.weights for layer in layers)
    return tuple(
        LayerReport(
            name=layer.name,
            shape=layer.shape,
            kernels=layer.kernels,
            kernel_shape=layer.kernel_shape,
            share=layer.weights / weights,
            relative_error=relative_error([original[layer.name]], [decoded[layer.name]]),
        )
        for layer in layers
    )


def _represented_share(layers: Sequence[KernelLayer], tied: Mapping[str, str], tensors: Mapping[str, Tensor]) -> float:
    """Share of a checkpoint's floating-point values that the predictor represents, tied ones counted once."""
    values = sum(t.numel() for name, t in tensors.items() if t.is_floating_point() and name not in tied)
    return round(sum(layer.weights for layer in layers) / values, 6)


def _make_metrics(
    *,
    source_bytes: int,
    sizes: Sizes,
    error: float,
    original_accuracy: float | None,
    reconstructed_accuracy: float | None,
    notes: tuple[str, ...],
) -> Metrics:
    """Put the figures together."""
    return Metrics(
        source_bytes=source_bytes,
        file_bytes=sizes.file,
        predictor_bytes=sizes.predictor,
        permutation_bytes=sizes.permutation,
        integer_bytes=sizes.integers,
        kept_bytes=sizes.kept,
        ratio=round(source_bytes / sizes.file, 4),
        relative_error=round(error, 6),
        original_accuracy=original_accuracy,
        reconstructed_accuracy=reconstructed_accuracy,
        seconds={},
        notes=notes,
    )
