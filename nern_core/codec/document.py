"""The JSON document in the metadata of a `.nern` file: all that decoding needs beside the tensors."""

from typing import Final, Literal

from pydantic import BaseModel, ConfigDict, Field

from nern_core.kernels import KernelLayer
from nern_core.options import EncodeOptions, Permutation
from nern_core.predictor import PredictorConfig

FORMAT_VERSION: Final = 3


class Source(BaseModel):
    """The checkpoint file that was encoded."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    sha256: str
    bytes: int


class Document(BaseModel):
    """Contents of the metadata entry `nern`, beside its checksum.

    `layers` is the coordinate table: the l-th entry holds the kernels of the coordinates (l, f, c) with
    f below its filters and c below its channels. `tensor_order` lists every tensor of the checkpoint, `tied`
    those that repeat another one, with its name.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    format_version: Literal[3] = FORMAT_VERSION
    architecture: str | None
    options: EncodeOptions
    predictor: PredictorConfig
    permutation: Permutation
    scale: float = Field(gt=0, allow_inf_nan=False)
    layers: tuple[KernelLayer, ...] = Field(min_length=1)
    tied: dict[str, str]
    tensor_order: tuple[str, ...]
    source: Source
