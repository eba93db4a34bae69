"""Limit on the decoded size of a `.nern` file: far above any real encoding, and in proportion to the file. Torch-free.

A few bytes can declare a tensor of any shape, so the declared size is checked before anything is allocated or reserved.
"""

from collections.abc import Collection, Mapping
from typing import Final

from nern_core.contract.errors import NernError
from nern_core.formats.tensor_claims import MOST_TENSORS

# The largest target ratio is 1000, and tied tensors are decoded once for each of their names.
_LARGEST_EXPANSION: Final = 4096
# A predictor of a few units can represent a network of any size: a vision transformer in 15 KB is a valid file.
_ALWAYS_ALLOWED: Final = 2**30
_BYTES = 8


def check_decoded_extent(values: Mapping[str, int], tied: Collection[str], file_bytes: int, others: int = 0) -> None:
    """Raise `NernError` (`bad_encoding`) if decoding would take far more memory than a file of this size justifies.

    `values` counts the values of each stored tensor, `tied` names the tensors that others repeat, and `others` counts
    further values that decoding needs.
    """
    if len(values) + len(tied) > MOST_TENSORS:
        raise NernError("bad_encoding", f"The .nern file is damaged: it declares more than {MOST_TENSORS:,} tensors.")
    declared = _BYTES * (sum(values.values()) + sum(values.get(name, 0) for name in tied) + others)
    if declared > _ALWAYS_ALLOWED + _LARGEST_EXPANSION * file_bytes:
        raise NernError(
            "bad_encoding",
            f"The .nern file is damaged: its {file_bytes:,} bytes declare {declared:,} bytes of tensors; encode again.",
        )
