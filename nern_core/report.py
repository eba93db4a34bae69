"""The report of an encoding: sizes, errors, accuracy and seconds, all measured on the finished file."""

from collections.abc import Mapping, Sequence

from pydantic import BaseModel, ConfigDict
from torch import Tensor

from nern_core.codec import Sizes
from nern_core.kernels import KernelLayer
from nern_core.metrics import Metrics
from nern_core.options import EncodeOptions

_SMALLEST_NORM = 1e-12


class LayerReport(BaseModel):
    """One represented layer and the relative error of its reconstruction."""

    model_config = ConfigDict(frozen=True)

    name: str
    shape: tuple[int, ...]
    relative_error: float


class CurvePoint(BaseModel):
    """One point of the training curve."""

    model_config = ConfigDict(frozen=True)

    phase: str
    step: int
    seconds: float
    loss: float


class Report(BaseModel):
    """What `report.json` holds."""

    model_config = ConfigDict(frozen=True)

    nern_version: str
    source_sha256: str
    options: EncodeOptions
    hidden_size: int
    represented_weights: int
    represented_share: float
    predictor_parameters: int
    metrics: Metrics
    layers: tuple[LayerReport, ...]
    curve: tuple[CurvePoint, ...]


def layer_reports(
    layers: Sequence[KernelLayer], original: Mapping[str, Tensor], decoded: Mapping[str, Tensor]
) -> tuple[LayerReport, ...]:
    """Relative error of each represented layer."""
    return tuple(
        LayerReport(
            name=layer.name,
            shape=layer.shape,
            relative_error=relative_error([original[layer.name]], [decoded[layer.name]]),
        )
        for layer in layers
    )


def represented_share(layers: Sequence[KernelLayer], tied: Mapping[str, str], tensors: Mapping[str, Tensor]) -> float:
    """Share of a checkpoint's floating-point values that the predictor represents, tied ones counted once."""
    values = sum(t.numel() for name, t in tensors.items() if t.is_floating_point() and name not in tied)
    return round(sum(layer.weights for layer in layers) / values, 6)


def relative_error(original: Sequence[Tensor], decoded: Sequence[Tensor]) -> float:
    """Norm of the differences over the norm of the originals, in float64."""
    error = sum(float((d.double() - o.double()).square().sum()) for o, d in zip(original, decoded, strict=True))
    norm = sum(float(o.double().square().sum()) for o in original)
    return float((error / max(norm, _SMALLEST_NORM)) ** 0.5)


def make_metrics(
    *,
    source_bytes: int,
    sizes: Sizes,
    error: float,
    original_accuracy: float | None,
    reconstructed_accuracy: float | None,
    seconds: Mapping[str, float],
) -> Metrics:
    """Put the figures together; `seconds` gets its total."""
    rounded = {phase: round(duration, 3) for phase, duration in seconds.items()}
    return Metrics(
        source_bytes=source_bytes,
        file_bytes=sizes.file,
        predictor_bytes=sizes.predictor,
        permutation_bytes=sizes.permutation,
        kept_bytes=sizes.kept,
        ratio=round(source_bytes / sizes.file, 4),
        relative_error=round(error, 6),
        original_accuracy=original_accuracy,
        reconstructed_accuracy=reconstructed_accuracy,
        seconds=rounded | {"total": round(sum(seconds.values()), 3)},
    )
