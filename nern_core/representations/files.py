"""Write and read `.nern` files of any representation."""

from pathlib import Path
from typing import Any

from nern_core.container.encoding import Encoding
from nern_core.container.file import read_packed, write_packed
from nern_core.container.limits import check_extent
from nern_core.container.sizes import Sizes
from nern_core.representations.registry import find_representation


def write_encoding(encoding: Encoding[Any], path: Path) -> None:
    """Write the file; the parameters of a predictor are stored in their current dtype."""
    packed = find_representation(encoding.document.kind).pack(encoding)
    write_packed(encoding.document, packed, encoding.kept, path)


def read_encoding(path: Path) -> Encoding[Any]:
    """Read and check a file.

    Raises `NernError` with the code `not_an_encoding`, `unsupported_version` or `bad_encoding`.
    """
    packed = read_packed(path)
    document = packed.contents.document
    representation = find_representation(document.kind)
    check_extent(packed.contents, path.stat().st_size, representation.scratch_values(document))
    return Encoding(document, representation.unpack(document, packed.weights), packed.unpack_kept())


def measure_sizes(path: Path) -> Sizes:
    """Add up the bytes of a file by purpose. Raises `NernError` as `read_encoding` does."""
    packed = read_packed(path)
    return Sizes(
        file=path.stat().st_size,
        weights=find_representation(packed.contents.document.kind).sizes(packed.weights),
        kept=sum(len(tensor.data) for tensor in packed.kept.values()),
        graph=packed.graph_bytes,
    )
