"""What a report holds: `report.json`, and all figures of the HTML page."""

from collections.abc import Mapping
from typing import Self

from pydantic import BaseModel, ConfigDict, Field, computed_field

from nern_core.metrics import Metrics
from nern_core.options import EncodeOptions
from nern_core.progress import TRAINING_PHASES, Phase
from nern_core.verdict import Evidence, accuracy_drop, judge


class LayerReport(BaseModel):
    """One represented layer. `share` is its part of all represented weights, 0 to 1.

    `relative_error` is the norm of the layer's weight errors over the norm of its weights.
    """

    model_config = ConfigDict(frozen=True)

    name: str
    shape: tuple[int, ...]
    kernels: int
    kernel_shape: tuple[int, ...]
    share: float
    relative_error: float


class AlternativeReport(BaseModel):
    """The original tensors by another method: their bytes, and the accuracy in percent (null: not measured).

    `seconds` are those that it took (null: hardly any).
    """

    model_config = ConfigDict(frozen=True)

    name: str
    bytes: int
    accuracy: float | None
    seconds: float | None = None


class SizeTrial(BaseModel):
    """A size in bytes that was measured on the way to the smallest one, and the points of accuracy that it cost then.

    They are estimated on blends of training images that were left out of the training.
    """

    model_config = ConfigDict(frozen=True)

    bytes: int
    drop: float


class CurvePoint(BaseModel):
    """One point of the training curve. `step` is of the phase, `seconds` are since the start of all training."""

    model_config = ConfigDict(frozen=True)

    phase: str
    step: int
    seconds: float
    loss: float


class Report(BaseModel):
    """An encoding in figures, measured on the finished file whose SHA-256 is `encoding_sha256`.

    `header_bytes` are those of the file that hold no tensor. `curve` and the seconds in `metrics` are known to
    whoever watched the training, and empty in a report that was made from the files alone.
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
    alternatives: tuple[AlternativeReport, ...] = Field(
        default=(), description="Empty where nobody has asked for the comparison."
    )
    failed_alternatives: dict[str, str] = Field(
        default={}, description="Names of alternatives that were asked for and failed, with a sentence that says why."
    )
    curve: tuple[CurvePoint, ...]
    recommended_steps: int | None = Field(
        default=None, description="Steps that this network is trained for by default; null where nobody trained."
    )
    size_trials: tuple[SizeTrial, ...] = Field(
        default=(), description="How the size for `max_drop` was found: the last one is this encoding's."
    )

    def judged(self) -> Self:
        """The same with the verdict that follows from its figures."""
        metrics = self.metrics
        last = {point.phase: point.step for point in self.curve}
        evidence = Evidence(
            file_bytes=metrics.file_bytes,
            original_accuracy=metrics.original_accuracy,
            reconstructed_accuracy=metrics.reconstructed_accuracy,
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
        """The same with the seconds of each phase, and their total."""
        rounded = {phase: round(duration, 3) for phase, duration in seconds.items()}
        rounded["total"] = round(sum(seconds.values()), 3)
        return self.model_copy(update={"metrics": self.metrics.model_copy(update={"seconds": rounded})})

    @property
    def cost(self) -> float | None:
        """Points of accuracy that the encoding costs: of the last estimate and the test split's, the larger one."""
        estimated = [self.size_trials[-1].drop] if self.size_trials else []
        measured = accuracy_drop(self.metrics.original_accuracy, self.metrics.reconstructed_accuracy)
        return max([*estimated, *([] if measured is None else [measured])], default=None)

    @property
    def costs_too_much(self) -> bool:
        """Whether the encoding costs more accuracy than `max_drop` allows, as estimated or on the test split."""
        allowed = self.options.max_drop
        return allowed is not None and self.cost is not None and self.cost > allowed

    @property
    def training_seconds(self) -> float:
        """Seconds of all training phases; 0 where they are not known."""
        return sum(self.metrics.seconds.get(phase, 0.0) for phase in TRAINING_PHASES)

    @computed_field(  # type: ignore[prop-decorator] # mypy knows no decorated properties
        description="Alternatives that are no larger than this encoding and at least as accurate."
    )
    @property
    def better_alternatives(self) -> tuple[str, ...]:
        """Names of the alternatives that somebody should rather take; empty where no accuracy is known."""
        accuracy = self.metrics.reconstructed_accuracy
        if accuracy is None:
            return ()
        return tuple(
            alternative.name
            for alternative in self.alternatives
            if alternative.accuracy is not None
            and alternative.accuracy >= accuracy
            and alternative.bytes <= self.metrics.file_bytes
        )
