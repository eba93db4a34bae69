"""Make the report of an encoding from its finished file and the original checkpoint."""

import math
from collections.abc import Iterator, Mapping, Sequence
from importlib.metadata import version

import torch
from pydantic import JsonValue
from torch import Tensor

from nern_core.analysis.comparison import Comparison
from nern_core.container.sizes import Sizes
from nern_core.contract.errors import quoted
from nern_core.contract.metrics import MOST_LAYER_ERRORS, Metrics
from nern_core.contract.report import CurvePoint, LayerReport, Report, SizeTrial
from nern_core.contract.verdict import LOST_LAYER_ERROR
from nern_core.formats.kernel_layer import KernelLayer
from nern_core.networks.fidelity import Quality
from nern_core.representations.files import measure_sizes
from nern_core.representations.registry import find_representation
from nern_core.tensors.digest import file_sha256
from nern_core.tensors.left_out import describe_left_out, left_out

_MOST_NAMED = 3
_LARGEST_ERROR = 1e6


def make_report(
    comparison: Comparison,
    *,
    quality: Quality | None,
    curve: Sequence[CurvePoint],
    size_trials: Sequence[SizeTrial] = (),
    recommended_steps: int | None = None,
    notes: tuple[str, ...] = (),
) -> Report:
    """Measure a checkpoint's encoding and make its report. It has no seconds yet: see `with_seconds`."""
    document, layers = comparison.encoding.document, comparison.encoding.document.layers
    original, decoded = comparison.original.tensors, comparison.decoded.tensors
    facts = find_representation(document.kind).describe(comparison.encoding)
    names = [layer.name for layer in layers]
    sizes = measure_sizes(comparison.path)
    layer_reports = _layer_reports(layers, original, decoded)
    errors = sorted(((report.relative_error, report.name) for report in layer_reports), reverse=True)
    layer_errors = {name: round(error, 6) for error, name in errors[:MOST_LAYER_ERRORS]}
    tensor_bytes = min(document.source.bytes, sum(tensor.nbytes for tensor in original.values()))
    report = Report(
        nern_version=version("nern"),
        source_sha256=document.source.sha256,
        encoding_sha256=file_sha256(comparison.path),
        options=document.options,
        hidden_size=_count(facts.get("hidden_size")),
        represented_weights=sum(layer.weights for layer in layers),
        represented_share=_represented_share(layers, document.tied, original),
        predictor_parameters=_count(facts.get("predictor_parameters")) or 0,
        header_bytes=sizes.header,
        metrics=_make_metrics(
            source_bytes=document.source.bytes,
            tensor_bytes=tensor_bytes,
            sizes=sizes,
            error=relative_error([original[n] for n in names], [decoded[n] for n in names]),
            layer_errors=layer_errors,
            quality=quality,
            notes=(
                *comparison.original.notes,
                *notes,
                *_target_notes(document.options.target_bytes, tensor_bytes),
                *_notes(comparison, layer_reports, is_measured=quality is not None),
            ),
        ),
        layers=layer_reports,
        curve=tuple(curve),
        recommended_steps=recommended_steps,
        size_trials=tuple(size_trials),
    )
    return report.judged()


def _count(fact: JsonValue) -> int | None:
    return fact if isinstance(fact, int) else None


def relative_error(original: Sequence[Tensor], decoded: Sequence[Tensor]) -> float:
    """Return the norm of the differences divided by the norm of the originals, in float64, for values of any size.

    If all originals are zero, it is 0 if the decoded values are zero, too, and 1 otherwise.
    """
    errors = [_norm(_difference(d, o)) for o, d in zip(original, decoded, strict=True)]
    return _relative(math.hypot(*errors), math.hypot(*map(_norm, original)))


def _relative(error: float, norm: float) -> float:
    if norm == 0:
        return float(error > 0)
    return min(error / norm, _LARGEST_ERROR)


def _difference(first: Tensor, second: Tensor) -> Tensor:
    """Return the difference in float64 for float64, and otherwise in float32, which is exact for similar numbers."""
    if first.dtype == torch.float64:
        return first - second
    return first.float() - second.float()


def _norm(values: Tensor) -> float:
    """Return the norm, computed in float64 without overflow."""
    if not values.numel():
        return 0.0
    if values.dtype != torch.float64:
        return float(torch.linalg.vector_norm(values.float(), dtype=torch.float64))
    largest = float(values.abs().max())
    return largest * float(torch.linalg.vector_norm(values / largest)) if 0 < largest < math.inf else largest


def _target_notes(target: int | None, tensor_bytes: int) -> Iterator[str]:
    """Describe a target that saves nothing."""
    if target is not None and target >= tensor_bytes:
        yield (
            f"The target of {target:,} bytes is not smaller than the checkpoint's tensors, {tensor_bytes:,} bytes; "
            "choose a smaller one to save space."
        )


def _notes(comparison: Comparison, layers: Sequence[LayerReport], *, is_measured: bool) -> Iterator[str]:
    """Describe lost layers, and tensors that are kept although they could be represented."""
    document = comparison.encoding.document
    kernels = document.options.represented
    kept = left_out(comparison.original.tensors, {*(layer.name for layer in layers), *document.tied}, kernels)
    if is_measured:
        yield from describe_lost(layers)
    if kept:
        yield describe_left_out(kept, kernels, document.options.predictor_width).strip()


def describe_lost(layers: Sequence[LayerReport]) -> Iterator[str]:
    """Yield a sentence on lost layers, if there are any. It is needed beside measured accuracies.

    Without accuracies, the verdict names these layers itself.
    """
    lost = [layer for layer in layers if layer.relative_error >= LOST_LAYER_ERROR]
    if lost:
        named = ", ".join(quoted(layer.name) for layer in lost[:_MOST_NAMED])
        others = f" and {len(lost) - _MOST_NAMED} more" if len(lost) > _MOST_NAMED else ""
        yield f"These layers are lost (relative error of {LOST_LAYER_ERROR} or more): {named}{others}."


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
    """Return the share of a checkpoint's floating-point values that is represented; tied tensors are counted once."""
    values = sum(t.numel() for name, t in tensors.items() if t.is_floating_point() and name not in tied)
    return round(sum(layer.weights for layer in layers) / values, 6)


def _make_metrics(
    *,
    source_bytes: int,
    tensor_bytes: int,
    sizes: Sizes,
    error: float,
    layer_errors: dict[str, float],
    quality: Quality | None,
    notes: tuple[str, ...],
) -> Metrics:
    """Combine the figures into metrics."""
    return Metrics(
        source_bytes=source_bytes,
        tensor_bytes=tensor_bytes,
        file_bytes=sizes.file,
        predictor_bytes=sizes.predictor,
        permutation_bytes=sizes.permutation,
        integer_bytes=sizes.integers,
        kept_bytes=sizes.kept,
        ratio=round(tensor_bytes / sizes.file, 4),
        relative_error=round(error, 6),
        layer_errors=layer_errors,
        original_accuracy=None if quality is None else quality.original_accuracy,
        reconstructed_accuracy=None if quality is None else quality.reconstructed_accuracy,
        fidelity=None if quality is None else quality.fidelity,
        seconds={},
        notes=notes,
    )
