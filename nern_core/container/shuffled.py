"""Compress values losslessly: bytes of equal significance are grouped, then compressed by zstd.

Neighbouring values share much of their sign and exponent, and little else.
"""

from typing import Final

import torch
import zstandard
from torch import Tensor

from nern_core.contract.errors import NernError

_LEVEL: Final = 9


def shuffle_and_compress(values: Tensor) -> Tensor:
    """Compress values (n,) of any dtype into uint8 (bytes,)."""
    of_values = values.contiguous().view(torch.uint8).view(-1, values.itemsize)
    packed = zstandard.ZstdCompressor(level=_LEVEL).compress(of_values.t().contiguous().numpy().tobytes())
    return torch.frombuffer(bytearray(packed), dtype=torch.uint8)


def decompress_and_unshuffle(packed: Tensor, dtype: torch.dtype, count: int) -> Tensor:
    """Undo `shuffle_and_compress` for `count` values of this dtype.

    Raises `NernError` (`bad_encoding`) if the bytes are damaged or declare another size; the size is checked before
    anything is allocated.
    """
    data, size = packed.numpy().tobytes(), count * dtype.itemsize
    try:
        # Without this check, the decompressor would allocate any size that the bytes declare. Empty tensors are never
        # compressed.
        if not size or zstandard.frame_content_size(data) != size:
            raise _damaged()
        unpacked = zstandard.ZstdDecompressor().decompress(data, max_output_size=size, allow_extra_data=False)
    except zstandard.ZstdError as error:
        raise _damaged() from error
    of_values = torch.frombuffer(bytearray(unpacked), dtype=torch.uint8).view(dtype.itemsize, count)
    return of_values.t().contiguous().view(dtype).flatten()


def _damaged() -> NernError:
    return NernError("bad_encoding", "The .nern file is damaged: its kept tensors cannot be decompressed.")
