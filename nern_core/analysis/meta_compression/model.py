"""The result of a meta-compression sweep."""

from enum import StrEnum

from pydantic import BaseModel, ConfigDict


class Subject(StrEnum):
    """The compressed subject: the predictor of the encoding, or the tensors that it represents."""

    NERN = "nern"
    ORIGINAL = "original"


class Method(StrEnum):
    """The method of compression."""

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
    """The whole sweep, measured on `images` test images, with one sentence per method.

    `original_accuracy` and `encoding_accuracy` are those of the uncompressed checkpoint and encoding.
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
