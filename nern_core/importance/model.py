"""What is said about the importance of kernels and filters: `importance.json`."""

from enum import StrEnum

from pydantic import BaseModel, ConfigDict, Field


class Granularity(StrEnum):
    """What gets a score: a kernel, or all kernels of a filter together."""

    KERNEL = "kernel"
    FILTER = "filter"


class Criterion(StrEnum):
    """What a score is made from; `nern_core.importance.scores` has the formulas.

    Important is what has a small reconstruction error, a large magnitude, or a large Fisher score.
    """

    RECONSTRUCTION_ERROR = "reconstruction-error"
    MAGNITUDE = "magnitude"
    FISHER = "fisher"


class PruningOrder(StrEnum):
    """What is pruned first; kernels and filters of zeros alone go before all others.

    The first three are the least important by each criterion. The others are controls: the opposite of the first,
    and chance.
    """

    LARGEST_ERROR = "largest-error-first"
    SMALLEST_MAGNITUDE = "smallest-magnitude-first"
    SMALLEST_FISHER = "smallest-fisher-first"
    SMALLEST_ERROR = "smallest-error-first"
    RANDOM = "random"


class RankedUnit(BaseModel):
    """A kernel or, without `channel`, a filter, and its score. Layers are named by their tensor."""

    model_config = ConfigDict(frozen=True)

    layer: str
    filter: int
    channel: int | None
    score: float


class Ranking(BaseModel):
    """The extremes of one criterion over all layers, the most extreme first."""

    model_config = ConfigDict(frozen=True)

    granularity: Granularity
    criterion: Criterion
    most_important: tuple[RankedUnit, ...]
    least_important: tuple[RankedUnit, ...]


class Correlation(BaseModel):
    """Spearman's rank correlation of the scores of two criteria over all layers; null where one is constant."""

    model_config = ConfigDict(frozen=True)

    granularity: Granularity
    first: Criterion
    second: Criterion
    spearman: float | None


class PruningPoint(BaseModel):
    """Accuracy in percent after so large a share of the represented weights, 0 to 1, was set to zero."""

    model_config = ConfigDict(frozen=True)

    granularity: Granularity
    order: PruningOrder
    share: float
    accuracy: float


class Importance(BaseModel):
    """Everything about the importance of the kernels of one checkpoint, as one encoding of it tells.

    `images` is how many test images the accuracies were measured on; `remarks` are sentences on what is left out.
    """

    model_config = ConfigDict(frozen=True)

    nern_version: str
    source_sha256: str
    encoding_sha256: str
    architecture: str | None
    kernels: int
    filters: int
    images: int
    rankings: tuple[Ranking, ...]
    correlations: tuple[Correlation, ...]
    pruning: tuple[PruningPoint, ...] = Field(description="Empty without an architecture and data.")
    remarks: tuple[str, ...]
