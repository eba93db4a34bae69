import numpy as np
import pytest

from nern_core.codec.backend import Backend, fastest_backend, numpy_backend
from nern_core.codec.lanes import LEAST_STATE, join_lanes, lane_sizes
from nern_core.codec.layers import CodedLayer, CoordinateTables, LayerShape, LayerTables, WeightType
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


def zeros(shape: LayerShape, *, is_transformed: bool) -> list[bytes]:
    """Return the streams of a layer of zeros, a few bytes for any number of weights, without making the layer."""
    tables = (np.zeros(1, np.int32),) * 3
    small = LayerTables(CoordinateTables(*tables), CoordinateTables(*tables), is_transformed)
    before = pack_layers([CodedLayer(np.zeros((1, 1, 1), np.int32), small, (1,))])[:2]
    return [*before, join_lanes([LEAST_STATE.to_bytes(4, "little")] * len(lane_sizes(shape.weights, shape.positions)))]


@BACKENDS
@pytest.mark.parametrize("sides", [(1 << 27,), (512, 513), (512, 512, 512)])
def test_kernels_larger_than_any_network_has_are_refused_unread(sides: tuple[int, ...], backend: Backend) -> None:
    shape = LayerShape(1, 1, sides)
    for is_transformed in (False, True):
        with pytest.raises(NernError, match=r"a kernel has more than 262,144 values\.$") as error:
            open_layers(zeros(shape, is_transformed=is_transformed), [shape], backend)
        assert error.value.code == "bad_encoding"


@BACKENDS
def test_transforms_that_would_take_minutes_are_refused(backend: Backend) -> None:
    shape = LayerShape(16, 2, (512, 512))
    open_layers(zeros(shape, is_transformed=False), [shape], backend)
    with pytest.raises(NernError, match=r"bytes of streams declare 8,589,934,592 products; encode again\.$") as error:
        open_layers(zeros(shape, is_transformed=True), [shape], backend)
    assert error.value.code == "bad_encoding"


def test_kernels_that_a_decoder_refuses_are_not_packed() -> None:
    with pytest.raises(ValueError, match="kernels have at most 262144 values"):
        pack_layers([random_layer(1, 1, ((1 << 18) + 1,))])


@BACKENDS
def test_streams_of_another_shape_are_errors(backend: Backend) -> None:
    for shape in (LayerShape(4, 3, (3, 3)), LayerShape(3, 4, (2, 2)), LayerShape(300, 400, (3, 3))):
        with pytest.raises(NernError):
            decode_layers(open_layers(STREAMS, [shape, *SHAPES[1:]], backend), [WeightType.FLOAT32] * 4, backend)
