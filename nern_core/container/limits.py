"""The decoded size of a `.nern` file, checked before anything is allocated."""

import math

from nern_core.container.document import Contents, PredictorRepresentation
from nern_core.formats.decoded_extent import check_decoded_extent


def check_extent(contents: Contents, file_bytes: int) -> None:
    """Raise `NernError` (`bad_encoding`) if decoding would take far more memory than a file of this size justifies."""
    document = contents.document
    values = {layer.name: layer.kernels * layer.kernel_values for layer in document.layers}
    values |= {kept.name: math.prod(kept.shape) for kept in contents.kept}
    codes = 0
    if isinstance(document.representation, PredictorRepresentation):
        rows = sum(1 + layer.filters + layer.channels for layer in document.layers)
        codes = rows * 3 * document.representation.predictor.variant.encoding.size
    check_decoded_extent(values, document.tied.values(), file_bytes, codes)
