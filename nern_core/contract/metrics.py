"""The metrics of an encoding, as in reports, on the command line and in the API. Torch-free."""

from typing import Annotated, Final

from pydantic import BaseModel, ConfigDict, Field

from nern_core.contract.fidelity import Fidelity
from nern_core.contract.verdict import Verdict

MOST_LAYER_ERRORS: Final = 10


class Metrics(BaseModel):
    """Sizes in bytes, accuracies in percent on the test split (null without data).

    `ratio` is the size of the encoded tensors divided by the file's size. `relative_error` is the norm of all weight
    errors divided by the norm of all represented weights.
    """

    model_config = ConfigDict(frozen=True)

    source_bytes: int
    tensor_bytes: Annotated[
        int,
        Field(description="Bytes of the encoded tensors; the checkpoint may hold more, such as an optimizer."),
    ] = 0
    file_bytes: int
    predictor_bytes: int
    permutation_bytes: int
    integer_bytes: Annotated[int, Field(description="Bytes of quantized weights, including their distributions.")] = 0
    kept_bytes: int
    ratio: float
    relative_error: float
    layer_errors: Annotated[
        dict[str, float],
        Field(description="Relative errors of the up to ten layers with the largest errors, the largest first."),
    ] = {}
    original_accuracy: float | None
    reconstructed_accuracy: float | None
    fidelity: Annotated[
        Fidelity | None,
        Field(description="Closeness of the outputs to the original's, on held-out inputs; null without inputs."),
    ] = None
    verdict: Annotated[
        Verdict | None,
        Field(description="Verdict on the encoding's quality; null in earlier results."),
    ] = None
    seconds: Annotated[dict[str, float], Field(description="Seconds of each phase, and `total`.")]
    notes: Annotated[
        tuple[str, ...],
        Field(description="Notes on how the checkpoint was read, on exactly kept tensors, and on lost layers."),
    ] = ()
