"""Options of a job, written by `make generate`. The service validates them, and documents them at `/docs`."""

from collections.abc import Sequence
from typing import Literal, TypedDict


class EncodeOptions(TypedDict, total=False):
    """The options of one encoding; the service sets defaults for missing ones."""

    architecture: str | None
    key: str | None
    dataset: str | None
    outputs: str | Sequence[str] | None
    representation: Literal["auto", "quantized", "predictor"]
    recipe: Literal["fast", "paper", "data-free"]
    tier: Literal["instant", "trained"] | None
    kernels: str | Sequence[str] | None
    target_bytes: int | None
    target_ratio: float | None
    max_drop: float | None
    hidden_size: int | None
    kernels_per_coordinate: int
    permutation: Literal["none", "in-filter", "cross-filter"]
    seconds: float | None
    steps: int | None
    rounds: int
    fail_over: float | None
    importance: bool
    direct_quantization: bool
    seed: int
    device: Literal["cpu", "gpu"]
