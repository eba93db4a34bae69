import pytest
import torch
import zstandard

from nern_core.container.shuffled import decompress_and_unshuffle, shuffle_and_compress
from nern_core.contract.errors import NernError

VALUES = torch.randn(1000, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize(
    "values", [VALUES, VALUES.half(), VALUES.double(), VALUES.bfloat16(), (VALUES * 9).to(torch.int8), VALUES > 0]
)
def test_values_of_every_dtype_come_back_bit_for_bit(values: torch.Tensor) -> None:
    data = values.view(torch.uint8).numpy().tobytes()
    packed = shuffle_and_compress(data, values.itemsize)
    assert decompress_and_unshuffle(packed, values.itemsize, len(values)) == data


def test_random_weights_take_fewer_bytes() -> None:
    assert len(shuffle_and_compress(VALUES.numpy().tobytes(), 4)) < 0.93 * VALUES.nbytes


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"not compressed",
        zstandard.compress(bytes(2**30)),
        zstandard.compress(bytes(3999)),
        zstandard.ZstdCompressor(write_content_size=False).compress(bytes(4000)),
        zstandard.compress(bytes(4000))[:-1],
        zstandard.compress(bytes(4000)) + b"more",
    ],
    ids=["empty", "no-frame", "bomb", "too-few", "of-unknown-size", "cut-short", "too-long"],
)
def test_bytes_of_another_size_or_damaged_ones_are_refused(data: bytes) -> None:
    with pytest.raises(NernError, match="cannot be decompressed") as error:
        decompress_and_unshuffle(data, 4, 1000)
    assert error.value.code == "bad_encoding"


def test_a_frame_of_nothing_is_refused() -> None:
    with pytest.raises(NernError, match="cannot be decompressed"):
        decompress_and_unshuffle(zstandard.compress(b""), 4, 0)


def test_a_frame_that_declares_a_vast_size_is_refused_before_anything_is_allocated() -> None:
    # A frame header: magic, a content size of 8 bytes, 2^60.
    header = b"\x28\xb5\x2f\xfd" + b"\xe0" + (2**60).to_bytes(8, "little")
    with pytest.raises(NernError):
        decompress_and_unshuffle(header + bytes(8), 4, 1000)
