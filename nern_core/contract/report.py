"""The contents of a report: `report.json`, and all figures of the HTML page. Torch-free."""

import math
from collections.abc import Mapping
from typing import Self

from pydantic import BaseModel, ConfigDict, Field, computed_field

from nern_core.contract.metrics import Metrics
from nern_core.contract.options import EncodeOptions
from nern_core.contract.progress import TRAINING_PHASES, Phase
from nern_core.contract.verdict import Evidence, accuracy_drop, judge


class LayerReport(BaseModel):
    """A represented layer. `share` is its part of all represented weights, 0 to 1.

    `relative_error` is the norm of the layer's weight errors divided by the norm of its weights.
    """

    model_config = ConfigDict(frozen=True)

    name: str
    shape: tuple[int, ...]
    kernels: int
    kernel_shape: tuple[int, ...]
    share: float
    relative_error: float


class AlternativeReport(BaseModel):
    """The original tensors stored by another method: bytes, and accuracy in percent (null: not measured).

    `output_error` is the relative error of the outputs on held-out inputs (null: not measured, as for labelled images).
    `seconds` is the method's run time (null: almost none).
    """

    model_config = ConfigDict(frozen=True)

    name: str
    bytes: int
    accuracy: float | None
    output_error: float | None = None
    seconds: float | None = None


class SizeTrial(BaseModel):
    """A size in bytes tried in the search for the smallest one, and the accuracy drop in points at that time.

    The drop is estimated on blends of training images that were held out.
    """

    model_config = ConfigDict(frozen=True)

    bytes: int
    drop: float


class CurvePoint(BaseModel):
    """A point of the training curve. `step` counts within the phase, `seconds` since the start of all training."""

    model_config = ConfigDict(frozen=True)

    phase: str
    step: int
    seconds: float
    loss: float


class Report(BaseModel):
    """Measurements of an encoding, of the finished file whose SHA-256 is `encoding_sha256`.

    `header_bytes` are the bytes of the file that hold no tensor. `curve` and the seconds in `metrics` are recorded
    during training, and empty in a report made from the files alone.
    """

    model_config = ConfigDict(frozen=True)

    nern_version: str
    source_sha256: str
    encoding_sha256: str
    options: EncodeOptions
    hidden_size: int | None
    represented_weights: int
    represented_share: float
    predictor_parameters: int
    header_bytes: int
    metrics: Metrics
    layers: tuple[LayerReport, ...]
    alternatives: tuple[AlternativeReport, ...] = Field(default=(), description="Empty if no comparison was requested.")
    failed_alternatives: dict[str, str] = Field(
        default={}, description="Requested alternatives that failed: the reason by name."
    )
    curve: tuple[CurvePoint, ...]
    recommended_steps: int | None = Field(
        default=None, description="Default number of training steps for this network; null without training."
    )
    size_trials: tuple[SizeTrial, ...] = Field(
        default=(), description="Sizes tried for `max_drop`; the last one is this encoding's."
    )

    def judged(self) -> Self:
        """Return the same report with the verdict that follows from its metrics."""
        metrics = self.metrics
        last = {point.phase: point.step for point in self.curve}
        evidence = Evidence(
            file_bytes=metrics.file_bytes,
            weights=sum(math.prod(layer.shape) for layer in self.layers),
            original_accuracy=metrics.original_accuracy,
            reconstructed_accuracy=metrics.reconstructed_accuracy,
            fidelity=metrics.fidelity,
            relative_error=metrics.relative_error,
            layer_errors={layer.name: layer.relative_error for layer in self.layers},
            has_predictor=self.hidden_size is not None,
            is_distilled=Phase.DISTILLATION in last,
            steps=sum(last.values()),
            recommended_steps=self.recommended_steps,
            better_alternatives=self.better_alternatives,
        )
        return self.model_copy(update={"metrics": metrics.model_copy(update={"verdict": judge(evidence)})})

    def with_seconds(self, seconds: Mapping[str, float]) -> Self:
        """Return the same report with the seconds of each phase, and their total."""
        rounded = {phase: round(duration, 3) for phase, duration in seconds.items()}
        rounded["total"] = round(sum(seconds.values()), 3)
        return self.model_copy(update={"metrics": self.metrics.model_copy(update={"seconds": rounded})})

    @property
    def cost(self) -> float | None:
        """Return the accuracy drop in points: the larger one of the last estimate and the test split's."""
        estimated = [self.size_trials[-1].drop] if self.size_trials else []
        measured = accuracy_drop(self.metrics.original_accuracy, self.metrics.reconstructed_accuracy)
        return max([*estimated, *([] if measured is None else [measured])], default=None)

    @property
    def origin_of_cost(self) -> str:
        """Return where `cost` comes from, for a sentence."""
        measured = accuracy_drop(self.metrics.original_accuracy, self.metrics.reconstructed_accuracy)
        return "measured on the test split" if measured == self.cost else "estimated on held-out training images"

    @property
    def costs_too_much(self) -> bool:
        """Return True if the accuracy drop exceeds `max_drop`, as estimated or on the test split."""
        allowed = self.options.max_drop
        return allowed is not None and self.cost is not None and self.cost > allowed

    @property
    def training_seconds(self) -> float:
        """Return the seconds of all training phases; 0 if they are unknown."""
        return sum(self.metrics.seconds.get(phase, 0.0) for phase in TRAINING_PHASES)

    @computed_field(  # type: ignore[prop-decorator] # mypy does not support decorated properties
        description="Alternatives that are no larger than this encoding and at least as accurate."
    )
    @property
    def better_alternatives(self) -> tuple[str, ...]:
        """Return the names of the alternatives that are a better choice; empty if nothing was measured.

        Without accuracies, the errors of the outputs are compared.
        """
        return tuple(
            alternative.name
            for alternative in self.alternatives
            if alternative.bytes <= self.metrics.file_bytes and self._is_as_accurate(alternative)
        )

    def _is_as_accurate(self, alternative: AlternativeReport) -> bool:
        accuracy, fidelity = self.metrics.reconstructed_accuracy, self.metrics.fidelity
        if accuracy is not None:
            return alternative.accuracy is not None and alternative.accuracy >= accuracy
        if fidelity is None or alternative.output_error is None:
            return False
        return alternative.output_error <= fidelity.relative_error
