"""Fidelity: the closeness of an encoding's outputs to those of its original, on inputs not trained on. Torch-free."""

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field


class OutputFidelity(BaseModel):
    """The fidelity of one output, over all values of all examples."""

    model_config = ConfigDict(frozen=True)

    name: Annotated[str, Field(description="Name or position of the output; `output` if it is the only one.")]
    relative_error: Annotated[
        float, Field(description="Norm of the differences from the original's output, divided by its norm.")
    ]
    cosine: Annotated[float, Field(description="Cosine of the angle between the two outputs.")]


class Fidelity(BaseModel):
    """The fidelity of all outputs."""

    model_config = ConfigDict(frozen=True)

    examples: Annotated[int, Field(description="Number of inputs that were measured on.")]
    is_held_out: Annotated[
        bool, Field(description="False if these inputs were used for training, too, because there was only one.")
    ] = True
    outputs: tuple[OutputFidelity, ...]
    agreement: Annotated[
        float | None,
        Field(
            description="Percentage of equal answers: the largest logit is the same. Of a segmentation network, "
            "percentage of pixels with the same class. Null if there are no logits."
        ),
    ] = None
    mean_iou: Annotated[
        float | None,
        Field(
            description="Mean intersection over union of the classes of a segmentation network, in percent, with the "
            "original's pixels as the truth. Null for other networks."
        ),
    ] = None
    box_f1: Annotated[
        float | None,
        Field(
            description="F1 score of the boxes of a detection network, in percent, with the original's boxes as the "
            "truth: boxes of the same class with scores of at least 0.5 match from an intersection over union of 0.5. "
            "Null for other networks, and if there is no such box."
        ),
    ] = None
    original_perplexity: Annotated[
        float | None,
        Field(description="Perplexity of the original on the inputs, if it is a causal language model. Null if not."),
    ] = None
    reconstructed_perplexity: Annotated[
        float | None, Field(description="The same of the network with the decoded weights.")
    ] = None

    @property
    def relative_error(self) -> float:
        """Return the largest relative error of an output."""
        return max(output.relative_error for output in self.outputs)
