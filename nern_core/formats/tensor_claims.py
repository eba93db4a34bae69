"""Claims of a file about its tensors, and limits that are checked before any tensor is read. Torch-free.

The limits are far above every real network, and low enough to protect the process that reads a header.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Final, TypeGuard

from pydantic import AfterValidator, Field

from nern_core.contract.errors import NernError, quoted

# Bytes of one value of each supported dtype, by safetensors' names.
ITEM_BYTES: Final = {
    "F64": 8,
    "F32": 4,
    "F16": 2,
    "BF16": 2,
    "F8_E4M3": 1,
    "F8_E5M2": 1,
    "C64": 8,
    "I64": 8,
    "I32": 4,
    "I16": 2,
    "I8": 1,
    "U64": 8,
    "U32": 4,
    "U16": 2,
    "U8": 1,
    "BOOL": 1,
}
# torch's names of the same dtypes.
TORCH_DTYPES: Final = {
    "F64": "float64",
    "F32": "float32",
    "F16": "float16",
    "BF16": "bfloat16",
    "F8_E4M3": "float8_e4m3fn",
    "F8_E5M2": "float8_e5m2",
    "C64": "complex64",
    "I64": "int64",
    "I32": "int32",
    "I16": "int16",
    "I8": "int8",
    "U64": "uint64",
    "U32": "uint32",
    "U16": "uint16",
    "U8": "uint8",
    "BOOL": "bool",
}
TORCH_ITEM_BYTES: Final = {name: ITEM_BYTES[dtype] for dtype, name in TORCH_DTYPES.items()}
MOST_TENSORS: Final = 100_000
LONGEST_NAME: Final = 512
MOST_DIMENSIONS: Final = 8
# The largest size and number of values that torch can address.
LARGEST_SIZE: Final = 2**63 - 1
_MOST_VALUES = 2**40
# Tied weights and views can make tensors larger than their file; a decompression bomb exceeds this by far.
_LARGEST_EXPANSION = 4
_ALWAYS_ALLOWED = 2**24


@dataclass(frozen=True, slots=True)
class TensorClaim:
    """Dtype, a key of `ITEM_BYTES`, and shape of a tensor."""

    dtype: str
    shape: tuple[int, ...]

    @property
    def logical_bytes(self) -> int:
        """Return the bytes of all values, as if no two shared memory."""
        return math.prod(self.shape) * ITEM_BYTES[self.dtype]


def is_shape(sizes: tuple[object, ...], most_values: int = _MOST_VALUES) -> TypeGuard[tuple[int, ...]]:
    """Return True if these are valid sizes of a tensor: few, not negative, and not too many values.

    Zeros count as ones. No number of more than 9 * 8 bytes is computed, however many digits a file gives its sizes.
    """
    return (
        len(sizes) <= MOST_DIMENSIONS
        and all(type(size) is int and 0 <= size <= most_values for size in sizes)
        and math.prod(max(size, 1) for size in sizes if type(size) is int) <= most_values
    )


def _addressable(sizes: tuple[int, ...]) -> tuple[int, ...]:
    if not is_shape(sizes, LARGEST_SIZE):
        raise ValueError("no tensor has this shape")
    return sizes


# The shape of a tensor in a JSON document.
Shape = Annotated[tuple[int, ...], Field(max_length=MOST_DIMENSIONS), AfterValidator(_addressable)]


def is_name(name: str) -> bool:
    """Return whether a module of a network can have a tensor of this name."""
    return 0 < len(name) <= LONGEST_NAME and name.isprintable()


def check_name(name: str) -> None:
    """Raise `NernError` (`unsupported_tensor`) for a name that no module of a network can have."""
    if not is_name(name):
        raise NernError(
            "unsupported_tensor",
            f"A tensor has the name {quoted(name)}; give it 1 to {LONGEST_NAME} printable characters.",
        )


def check_expansion(claims: Mapping[str, TensorClaim], file_bytes: int) -> None:
    """Raise `NernError` (`unsupported_tensor`) if the tensors together are much larger than their file."""
    total = sum(claim.logical_bytes for claim in claims.values())
    if total > _ALWAYS_ALLOWED + _LARGEST_EXPANSION * file_bytes:
        name = max(claims, key=lambda name: claims[name].logical_bytes)
        raise NernError(
            "unsupported_tensor",
            f"The tensors would take {total:,} bytes from a file of {file_bytes:,}; the largest is {quoted(name)}; "
            "save contiguous copies of expanded tensors and use those.",
        )


def too_many_tensors(most: int = MOST_TENSORS) -> NernError:
    """Make the error for a file with more than `most` tensors."""
    return NernError(
        "unsupported_format", f"The file has more than {most:,} tensors; save only the network's state_dict()."
    )
