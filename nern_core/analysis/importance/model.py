"""The importance of kernels and filters: the document `importance.json`."""

from enum import StrEnum

from pydantic import BaseModel, ConfigDict, Field


class Granularity(StrEnum):
    """Units that get a score: a kernel, or all kernels of a filter together."""

    KERNEL = "kernel"
    FILTER = "filter"


class Criterion(StrEnum):
    """Criteria of importance; `nern_core.analysis.importance.scores` has the formulas.

    Kernels with a small reconstruction error, a large magnitude or a large Fisher score are important.
    """

    RECONSTRUCTION_ERROR = "reconstruction-error"
    MAGNITUDE = "magnitude"
    FISHER = "fisher"


class PruningOrder(StrEnum):
    """Orders of pruning; kernels and filters of zeros always go first.

    The first three begin with the units that one criterion ranks lowest. The others are controls: the reverse of the
    first, and random.
    """

    LARGEST_ERROR = "largest-error-first"
    SMALLEST_MAGNITUDE = "smallest-magnitude-first"
    SMALLEST_FISHER = "smallest-fisher-first"
    SMALLEST_ERROR = "smallest-error-first"
    RANDOM = "random"


class RankedUnit(BaseModel):
    """A kernel or, without `channel`, a filter, and its score. `layer` is the name of its tensor."""

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
    """Spearman's rank correlation of two criteria's scores over all layers; null if one of them is constant."""

    model_config = ConfigDict(frozen=True)

    granularity: Granularity
    first: Criterion
    second: Criterion
    spearman: float | None


class PruningPoint(BaseModel):
    """Accuracy in percent after this share of the represented weights, 0 to 1, was set to zero."""

    model_config = ConfigDict(frozen=True)

    granularity: Granularity
    order: PruningOrder
    share: float
    accuracy: float


class Importance(BaseModel):
    """The importance of all kernels of one checkpoint, measured with one encoding of it.

    `images` is the number of test images used to measure the accuracies; `remarks` are sentences about missing
    measurements.
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
