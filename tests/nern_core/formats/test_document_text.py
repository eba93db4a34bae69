import json
import zlib

import pytest

from nern_core.contract.errors import NernError
from nern_core.formats.document_text import LARGEST_DOCUMENT, compress_document, inflate_document

# Each inflates from a few KB to 16 MiB.
BOMBS = {
    "spaces": b" " * LARGEST_DOCUMENT,
    "numbers": b"[" + b"1," * (LARGEST_DOCUMENT // 2 - 1) + b"1]",
    "lists": b"[" + b"[]," * (LARGEST_DOCUMENT // 3 - 1) + b"1]",
    "nested lists": b"[" + (b"[" * 100 + b"]" * 100 + b",") * (LARGEST_DOCUMENT // 202) + b"1]",
    "nested objects": b"[" + (b'{"":' * 100 + b"1" + b"}" * 100 + b",") * (LARGEST_DOCUMENT // 510) + b"1]",
}
# Each fits in the length that is always allowed.
DENSE = {
    "numbers": b"[" + b"1," * 300_000 + b"1]",
    "lists": b"[" * 100_000 + b"]" * 100_000,
    "objects": b"[" + b'{"":1},' * 60_000 + b"1]",
}


@pytest.mark.parametrize("text", [*BOMBS.values(), *DENSE.values()], ids=[*BOMBS, *(f"dense {name}" for name in DENSE)])
def test_a_text_out_of_proportion_to_its_bytes_is_refused_unparsed(text: bytes) -> None:
    with pytest.raises(NernError, match="^The file is damaged: its document cannot be read.$") as error:
        inflate_document(zlib.compress(text, 9), "The file")
    assert error.value.code == "bad_encoding"


@pytest.mark.parametrize("text", DENSE.values(), ids=DENSE.keys())
def test_a_text_that_compresses_too_well_is_written_uncompressed(text: bytes) -> None:
    packed = compress_document(text)
    assert len(packed) > len(text)
    assert inflate_document(packed, "The file") == text


def test_the_document_of_100_000_tensors_is_far_within_the_limits() -> None:
    names = [f"layers.{index}.weight" for index in range(100_000)]
    layers = [{"name": name, "shape": [1024, 1024], "tile": 16, "dtype": "float32"} for name in names]
    text = json.dumps({"layers": layers, "tensor_order": names, "streams": [100] * 100_000}).encode()
    packed = compress_document(text)
    assert len(packed) < len(text) / 10
    assert inflate_document(packed, "The file") == text


@pytest.mark.parametrize("text", [b"", b"{}", b"x" * 2**21, bytes(range(256)) * 4096])
def test_inflating_undoes_compression(text: bytes) -> None:
    assert inflate_document(compress_document(text), "The file") == text


@pytest.mark.parametrize("packed", [b"", b"no zlib", zlib.compress(b"{}")[:-1]], ids=["empty", "other", "cut off"])
def test_damage_is_named(packed: bytes) -> None:
    with pytest.raises(NernError, match="its document cannot be read") as error:
        inflate_document(packed, "The file")
    assert error.value.code == "bad_encoding"


def test_a_document_that_no_file_holds_is_refused_before_it_is_written() -> None:
    with pytest.raises(NernError, match="take 16,777,217 bytes, more than a .nern file holds") as error:
        compress_document(b"x" * (LARGEST_DOCUMENT + 1))
    assert error.value.code == "unsupported_format"
