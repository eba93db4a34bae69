"""What a sweep of meta-compression found."""

from enum import StrEnum

from pydantic import BaseModel, ConfigDict


class Subject(StrEnum):
    """What is compressed: the predictor of the encoding, or the tensors that it represents themselves."""

    NERN = "nern"
    ORIGINAL = "original"


class Method(StrEnum):
    """How it is compressed."""

    PRUNING = "pruning"
    QUANTIZATION = "quantization"


class Point(BaseModel):
    """One measurement. `setting` is the share of values set to zero, or the bits; `accuracy` is in percent."""

    model_config = ConfigDict(frozen=True)

    subject: Subject
    method: Method
    setting: float
    bytes: int
    accuracy: float


class MetaCompression(BaseModel):
    """The whole sweep, measured on `images` test images, and one sentence on each method.

    `original_accuracy` is that of the checkpoint as it is, `encoding_accuracy` that of the encoding as it is.
    """

    model_config = ConfigDict(frozen=True)

    nern_version: str
    source_sha256: str
    architecture: str
    images: int
    original_accuracy: float
    encoding_accuracy: float
    points: tuple[Point, ...]
    verdicts: tuple[str, ...]
