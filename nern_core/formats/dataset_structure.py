"""Read the structure of a single-file data set without reading its values. Torch-free.

The file is a safetensors file. One of images has `train.images` and `test.images`, uint8 of shape N x H x W x 3 (RGB),
and `train.labels` and `test.labels`, int64 of shape N, or no labels. The optional entry `preprocessing` of its metadata
is a JSON text that overrides the architecture's preprocessing. One of arrays has `inputs`, or `inputs.NAME` for each
argument of a network, and perhaps `labels`, all with one row for each example. One of text lines has `text`, U8 of
shape N: the bytes of lines in UTF-8.
"""

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, BinaryIO, Final

from pydantic import BaseModel, ConfigDict, Field, PositiveFloat, ValidationError

from nern_core.contract.errors import NernError, quoted
from nern_core.formats.array_names import LABELS, names_arrays, problem_of_arrays, problem_of_names
from nern_core.formats.other_datasets import HEAD_BYTES, other_dataset
from nern_core.formats.safetensors_header import read_header, read_metadata
from nern_core.formats.tensor_claims import TensorClaim
from nern_core.formats.text_files import TEXT, is_text_claim

SPLITS: Final = ("train", "test")
PREPROCESSING: Final = "preprocessing"
_LARGEST_SIDE = 4096
_ALL: Final = tuple(f"{split}.{part}" for split in SPLITS for part in ("images", "labels"))
_INTEGERS: Final = frozenset({"I64", "I32", "I16", "I8", "U64", "U32", "U16", "U8"})
_HOW_TO = "`nern datasets upload` makes such a file from a folder"


class PreprocessingOverride(BaseModel):
    """A data set's settings that override how its images become inputs."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    mean: tuple[float, float, float] | None = None
    std: tuple[PositiveFloat, PositiveFloat, PositiveFloat] | None = None
    input_size: Annotated[int, Field(ge=8, le=1024)] | None = None
    crop_padding: Annotated[int, Field(ge=0, le=1024)] | None = None
    horizontal_flip: bool | None = None


@dataclass(frozen=True, slots=True)
class SplitStructure:
    """Number, height and width of the images of a split, and the bytes of images and labels."""

    images: int
    height: int
    width: int
    bytes: int


@dataclass(frozen=True, kw_only=True, slots=True)
class DatasetStructure:
    """The splits of a data set of images by name, the arrays of another one, or the bytes of text lines.

    The others are empty.
    """

    splits: Mapping[str, SplitStructure]
    arrays: Mapping[str, TensorClaim]
    is_labelled: bool
    text_bytes: int | None = None


def read_dataset_structure(path: Path) -> DatasetStructure:
    """Return the structure of a single-file data set. Raises `NernError` (`not_a_dataset`)."""
    with path.open("rb") as file:
        return dataset_structure_of(file, str(path))


def dataset_structure_of(file: BinaryIO, name: str = "") -> DatasetStructure:
    """Return the structure of a data set in an open file (at any position), which messages call `name`.

    Raises `NernError` (`not_a_dataset`).
    """
    file.seek(0)
    other = other_dataset(file.read(HEAD_BYTES), name)
    if other is not None:
        raise other
    try:
        tensors = read_header(file, file.seek(0, os.SEEK_END))
        metadata = read_metadata(file)
    except NernError as error:
        raise NernError("not_a_dataset", error.message) from error
    if names_arrays(tensors):
        return _arrays(tensors)
    if TEXT in tensors:
        return _text(tensors)
    if not any(name in _ALL for name in tensors):
        raise NernError(
            "not_a_dataset", f"{f'{quoted(name)}' if name else 'The file'} {problem_of_names(list(tensors))}."
        )
    parse_preprocessing(metadata.get(PREPROCESSING))
    labelled = any(name.endswith(".labels") for name in tensors)
    expected = [f"{split}.{part}" for split in SPLITS for part in (("images", "labels") if labelled else ("images",))]
    missing, extra = [name for name in expected if name not in tensors], sorted(set(tensors).difference(expected))
    if missing or extra:
        problem = f"has no tensor {quoted(missing[0])}" if missing else f"also has a tensor {quoted(extra[0])}"
        raise NernError(
            "not_a_dataset",
            f"The file {problem}; a data set of images has {', '.join(_ALL)} and no others, one of arrays has `inputs` "
            f"or `inputs.NAME`, one of text lines has `{TEXT}`, and {_HOW_TO}.",
        )
    splits = {split: _split(split, tensors[f"{split}.images"], tensors.get(f"{split}.labels")) for split in SPLITS}
    return DatasetStructure(splits=splits, arrays={}, is_labelled=labelled)


def parse_preprocessing(text: str | None) -> PreprocessingOverride | None:
    """Parse the entry `preprocessing` of the metadata. Raises `NernError` (`not_a_dataset`)."""
    if text is None:
        return None
    try:
        return PreprocessingOverride.model_validate_json(text)
    except ValidationError as error:
        raise NernError(
            "not_a_dataset", f"The entry `{PREPROCESSING}` of the metadata is invalid: {explain_override(error)}."
        ) from error


def explain_override(error: ValidationError) -> str:
    """Describe the invalid part of a preprocessing override, as the end of a sentence."""
    first = error.errors()[0]
    wrong = ".".join(map(str, first["loc"])) or "the text"
    return (
        f"{quoted(wrong)} is invalid ({first['msg']}); use a JSON object with any of "
        f"{', '.join(PreprocessingOverride.model_fields)}"
    )


def _arrays(tensors: Mapping[str, TensorClaim]) -> DatasetStructure:
    problem = problem_of_arrays({name: claim.shape for name, claim in tensors.items()})
    if problem is not None:
        raise NernError("not_a_dataset", f"The file {problem}.")
    labels = tensors.get(LABELS)
    if labels is not None and (len(labels.shape) != 1 or labels.dtype not in _INTEGERS):
        raise NernError(
            "not_a_dataset",
            f"`{LABELS}` is {labels.dtype} of shape {list(labels.shape)}; use one integer for each example.",
        )
    return DatasetStructure(splits={}, arrays=tensors, is_labelled=labels is not None)


def _text(tensors: Mapping[str, TensorClaim]) -> DatasetStructure:
    claim = tensors[TEXT]
    if other := next((name for name in tensors if name != TEXT), None):
        raise NernError(
            "not_a_dataset", f"The file has `{TEXT}` and {quoted(other)}; a data set of text lines has `{TEXT}` alone."
        )
    if not is_text_claim(claim):
        raise NernError(
            "not_a_dataset",
            f"`{TEXT}` is {claim.dtype} of shape {list(claim.shape)}; text lines are U8 (uint8) of shape N, the bytes "
            "of text in UTF-8.",
        )
    return DatasetStructure(splits={}, arrays={}, is_labelled=False, text_bytes=claim.logical_bytes)


def _split(name: str, images: TensorClaim, labels: TensorClaim | None) -> SplitStructure:
    sizes = images.shape
    if images.dtype != "U8" or len(sizes) != 4 or sizes[3] != 3 or not sizes[0]:
        raise NernError(
            "not_a_dataset",
            f"`{name}.images` is {images.dtype} of shape {list(sizes)}; images are U8 (uint8) of shape N x H x W x 3.",
        )
    count, height, width, _ = sizes
    if not (1 <= height <= _LARGEST_SIDE and 1 <= width <= _LARGEST_SIDE):
        raise NernError(
            "not_a_dataset",
            f"`{name}.images` are images of {height} x {width} pixels; use 1 to {_LARGEST_SIDE} on each side.",
        )
    if labels is None:
        return SplitStructure(count, height, width, images.logical_bytes)
    if labels != TensorClaim("I64", (count,)):
        raise NernError(
            "not_a_dataset",
            f"`{name}.labels` is {labels.dtype} of shape {list(labels.shape)}; use one I64 (int64) for each of the "
            f"{count:,} images.",
        )
    return SplitStructure(count, height, width, images.logical_bytes + labels.logical_bytes)
