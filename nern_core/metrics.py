"""The figures of an encoding, as reports, the command line and the API give them. Torch-free."""

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field


class Metrics(BaseModel):
    """Sizes in bytes, accuracies in percent on the test split (null without data).

    `ratio` is the source's size over the file's. `relative_error` is the norm of all weight errors over
    the norm of all represented weights.
    """

    model_config = ConfigDict(frozen=True)

    source_bytes: int
    file_bytes: int
    predictor_bytes: int
    permutation_bytes: int
    integer_bytes: Annotated[int, Field(description="Quantized weights, and what tells how they are distributed.")] = 0
    kept_bytes: int
    ratio: float
    relative_error: float
    original_accuracy: float | None
    reconstructed_accuracy: float | None
    seconds: Annotated[dict[str, float], Field(description="Seconds of each phase, and `total`.")]
    notes: Annotated[
        tuple[str, ...],
        Field(description="Sentences on how the checkpoint was read: which of its weights, and under which names."),
    ] = ()
