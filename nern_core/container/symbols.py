"""Decode symbols from a range coder's stream, which may contain arbitrary bytes."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from nern_core.contract.errors import NernError


def decode_symbols(decoder: Any, model: object, symbols: int | NDArray[np.int32]) -> NDArray[np.int32]:  # noqa: ANN401 # constriction has no types
    """Decode `symbols` symbols, or one symbol for each of these parameters of the model.

    Raises `NernError` (`bad_encoding`) for bytes that no encoder writes.
    """
    try:
        decoded: NDArray[np.int32] = decoder.decode(model, symbols)
    except AssertionError as error:  # raised by constriction, even where Python disables assertions
        raise NernError("bad_encoding", "The .nern file is damaged: one of its streams cannot be decoded.") from error
    return decoded
