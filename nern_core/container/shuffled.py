"""Compress values losslessly: bytes of equal significance are grouped, then compressed by zstd. Torch-free.

Neighbouring values share much of their sign and exponent, and little else.
"""

from typing import Final

import numpy as np
import zstandard

from nern_core.contract.errors import NernError

_LEVEL: Final = 9


def shuffle_and_compress(data: bytes, item_bytes: int) -> bytes:
    """Compress values of `item_bytes` bytes each."""
    of_values = np.frombuffer(data, np.uint8).reshape(-1, item_bytes)
    return zstandard.ZstdCompressor(level=_LEVEL).compress(of_values.T.tobytes())


def decompress_and_unshuffle(packed: bytes, item_bytes: int, count: int) -> bytes:
    """Undo `shuffle_and_compress` for `count` values.

    Raises `NernError` (`bad_encoding`) if the bytes are damaged or declare another size; the size is checked before
    anything is allocated.
    """
    size = count * item_bytes
    try:
        # Without this check, the decompressor would allocate any size that the bytes declare. Empty tensors are never
        # compressed.
        if not size or zstandard.frame_content_size(packed) != size:
            raise _damaged()
        unpacked = zstandard.ZstdDecompressor().decompress(packed, max_output_size=size, allow_extra_data=False)
    except zstandard.ZstdError as error:
        raise _damaged() from error
    return np.frombuffer(unpacked, np.uint8).reshape(item_bytes, count).T.tobytes()


def _damaged() -> NernError:
    return NernError("bad_encoding", "The .nern file is damaged: its kept tensors cannot be decompressed.")
