"""Compress the graph of an ONNX file, and decompress it within limits. Torch-free.

The format is xz, which makes graphs a third smaller than zlib does.
"""

import lzma
from functools import lru_cache
from typing import Final

from nern_core.contract.errors import NernError
from nern_core.formats.onnx_files import LARGEST_GRAPH

# A dictionary of 8 MiB is enough for any graph, and its decoder needs little more.
_PRESET: Final = 6 | lzma.PRESET_EXTREME
_MEMORY: Final = 16 * 2**20
_CHUNK: Final = 2**16


@lru_cache(maxsize=1)
def compress_graph(graph: bytes) -> bytes:
    """Compress a graph; the last result is kept, because the size of a file is computed many times."""
    return lzma.compress(graph, preset=_PRESET, check=lzma.CHECK_NONE)


def decompress_graph(packed: bytes) -> bytes:
    """Undo `compress_graph`. Raises `NernError` (`bad_encoding`)."""
    machine = lzma.LZMADecompressor(format=lzma.FORMAT_XZ, memlimit=_MEMORY)
    try:
        graph = machine.decompress(packed, LARGEST_GRAPH)
    except (lzma.LZMAError, EOFError) as error:
        raise _damaged() from error
    if not machine.eof or machine.unused_data:
        raise _damaged()
    return graph


def measure_graph(packed: bytes) -> int:
    """Count the bytes of a compressed graph without holding them. Raises `NernError` (`bad_encoding`)."""
    machine = lzma.LZMADecompressor(format=lzma.FORMAT_XZ, memlimit=_MEMORY)
    size = 0
    try:
        while not machine.eof and size <= LARGEST_GRAPH:
            if machine.needs_input and not packed:
                raise _damaged()
            part = machine.decompress(packed, _CHUNK)
            packed = b""
            size += len(part)
    except lzma.LZMAError as error:
        raise _damaged() from error
    if not machine.eof or machine.unused_data:
        raise _damaged()
    return size


def _damaged() -> NernError:
    return NernError("bad_encoding", "The .nern file is damaged: its graph cannot be decompressed.")
