"""The figures of an encoding, as reports, the command line and the API give them. Torch-free."""

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

from nern_core.verdict import Verdict


class Metrics(BaseModel):
    """Sizes in bytes, accuracies in percent on the test split (null without data).

    `ratio` is the size of the tensors that were encoded over the file's. `relative_error` is the norm of all weight
    errors over the norm of all represented weights.
    """

    model_config = ConfigDict(frozen=True)

    source_bytes: int
    tensor_bytes: Annotated[
        int,
        Field(description="Bytes of the tensors that were encoded; the file may hold more, such as an optimizer."),
    ] = 0
    file_bytes: int
    predictor_bytes: int
    permutation_bytes: int
    integer_bytes: Annotated[int, Field(description="Quantized weights, and what tells how they are distributed.")] = 0
    kept_bytes: int
    ratio: float
    relative_error: float
    layer_errors: Annotated[
        dict[str, float],
        Field(description="The relative errors of the layers with the largest ones, at most ten, the largest first."),
    ] = {}
    original_accuracy: float | None
    reconstructed_accuracy: float | None
    verdict: Annotated[
        Verdict | None,
        Field(description="Whether the encoding keeps the network; null in earlier results."),
    ] = None
    seconds: Annotated[dict[str, float], Field(description="Seconds of each phase, and `total`.")]
    notes: Annotated[
        tuple[str, ...],
        Field(description="Sentences on how the checkpoint was read, what is kept exactly, and which layers are lost."),
    ] = ()
