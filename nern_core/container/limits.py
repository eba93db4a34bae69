"""Limits on the decoded size of a `.nern` file: far above any real encoding, and in proportion to the file's size.

A few bytes can declare a tensor of any shape, so the declared size is checked before anything is allocated.
"""

import math
from typing import Final

from nern_core.container.document import Contents, PredictorRepresentation
from nern_core.contract.errors import NernError

# The largest target ratio is 1000, and tied tensors are decoded once for each of their names.
_LARGEST_EXPANSION: Final = 4096
# A predictor of a few units can represent a network of any size: a vision transformer in 15 KB is a valid file.
_ALWAYS_ALLOWED: Final = 2**30
_BYTES = 8


def check_extent(contents: Contents, file_bytes: int) -> None:
    """Raise `NernError` (`bad_encoding`) if decoding would take far more memory than a file of this size justifies."""
    document = contents.document
    values = [(layer.name, layer.kernels * layer.kernel_values) for layer in document.layers]
    values += [(kept.name, math.prod(kept.shape)) for kept in contents.kept]
    of_name = dict(values)
    tied = sum(of_name.get(name, 0) for name in document.tied.values())
    codes = 0
    if isinstance(document.representation, PredictorRepresentation):
        rows = sum(1 + layer.filters + layer.channels for layer in document.layers)
        codes = rows * 3 * document.representation.predictor.variant.encoding.size
    declared = _BYTES * (sum(count for _, count in values) + tied + codes)
    if declared > _ALWAYS_ALLOWED + _LARGEST_EXPANSION * file_bytes:
        raise NernError(
            "bad_encoding",
            f"The .nern file is damaged: its {file_bytes:,} bytes declare {declared:,} bytes of tensors; encode again.",
        )
