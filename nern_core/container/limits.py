"""The decoded size of a `.nern` file, checked before anything is allocated."""

import math

from nern_core.container.document import Contents
from nern_core.formats.decoded_extent import check_decoded_extent


def check_extent(contents: Contents, file_bytes: int, scratch_values: int = 0) -> None:
    """Raise `NernError` (`bad_encoding`) if decoding would take far more memory than a file of this size justifies.

    `scratch_values` counts the numbers that the representation needs beside the decoded tensors.
    """
    document = contents.document
    values = {layer.name: layer.kernels * layer.kernel_values for layer in document.layers}
    values |= {kept.name: math.prod(kept.shape) for kept in contents.kept}
    check_decoded_extent(values, document.tied.values(), file_bytes, scratch_values)
