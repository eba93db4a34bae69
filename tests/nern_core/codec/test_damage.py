import numpy as np
import pytest

from nern_core.codec.backend import Backend, fastest_backend, numpy_backend
from nern_core.codec.layers import LayerShape, WeightType
from nern_core.codec.streams import decode_kernel, decode_layers, open_layers, pack_layers
from nern_core.contract.errors import NernError
from tests.nern_core.codec.coded_layers import layer_of, random_layer

LAYERS = [
    random_layer(3, 4, (3, 3), is_transformed=True),
    random_layer(5, 12, (1,), scale=33),
    layer_of([1, -2, 70, 0, -(1 << 24), 1 << 24, 300]),
    layer_of([0] * 50),
]
SHAPES = [layer.shape for layer in LAYERS]
STREAMS = pack_layers(LAYERS)
BACKENDS = pytest.mark.parametrize("backend", [fastest_backend(), numpy_backend()], ids=["compiled", "numpy"])


def decode(streams: list[bytes], backend: Backend) -> str | None:
    """Decode streams to finite weights, and return None, or the code of the reader's error."""
    try:
        packed = open_layers(streams, SHAPES, backend)
        found = decode_layers(packed, [WeightType.FLOAT32] * len(SHAPES), backend)
        found.append(decode_kernel(packed[0], 2, 3, WeightType.FLOAT32))
    except NernError as error:
        return error.code
    return None if all(np.isfinite(weights).all() for weights in found) else "infinite"


@BACKENDS
def test_intact_streams_decode(backend: Backend) -> None:
    assert decode(STREAMS, backend) is None


@BACKENDS
@pytest.mark.parametrize("index", range(len(STREAMS)))
def test_every_truncation_is_an_error(index: int, backend: Backend) -> None:
    for length in range(len(STREAMS[index])):
        cut = [*STREAMS[:index], STREAMS[index][:length], *STREAMS[index + 1 :]]
        assert decode(cut, backend) == "bad_encoding"


@BACKENDS
@pytest.mark.parametrize("index", range(2, len(STREAMS)))
def test_a_byte_too_many_is_an_error(index: int, backend: Backend) -> None:
    longer = [*STREAMS[:index], STREAMS[index] + b"\0", *STREAMS[index + 1 :]]
    assert decode(longer, backend) == "bad_encoding"


@BACKENDS
@pytest.mark.parametrize("index", range(len(STREAMS)))
@pytest.mark.parametrize("flipped", [1, 0x80, 0xFF])
def test_every_flipped_byte_is_an_error_or_gives_finite_weights(index: int, flipped: int, backend: Backend) -> None:
    for place in range(len(STREAMS[index])):
        damaged = bytearray(STREAMS[index])
        damaged[place] ^= flipped
        changed = [*STREAMS[:index], bytes(damaged), *STREAMS[index + 1 :]]
        assert decode(changed, backend) in {None, "bad_encoding"}


@BACKENDS
def test_random_bytes_are_errors(backend: Backend) -> None:
    generator = np.random.default_rng(0)
    for index in range(len(STREAMS)):
        for size in (0, 1, 4, 5, 30, 1000):
            junk = generator.integers(0, 256, size).astype(np.uint8).tobytes()
            replaced = [*STREAMS[:index], junk, *STREAMS[index + 1 :]]
            assert decode(replaced, backend) == "bad_encoding"


@BACKENDS
def test_damage_in_one_of_many_lanes_is_an_error(backend: Backend) -> None:
    layer = random_layer(64, 9000, (1,), scale=20)
    *before, stream = pack_layers([layer])
    damaged = bytearray(stream)
    damaged[len(stream) // 2] ^= 4
    for changed in (bytes(damaged), stream[:-1], stream[1:]):
        packed = open_layers([*before, changed], [layer.shape], backend)
        with pytest.raises(NernError, match="cannot be decoded"):
            decode_layers(packed, [WeightType.FLOAT32], backend)


@BACKENDS
def test_streams_of_another_shape_are_errors(backend: Backend) -> None:
    for shape in (LayerShape(4, 3, (3, 3)), LayerShape(3, 4, (2, 2)), LayerShape(300, 400, (3, 3))):
        with pytest.raises(NernError):
            decode_layers(open_layers(STREAMS, [shape, *SHAPES[1:]], backend), [WeightType.FLOAT32] * 4, backend)
