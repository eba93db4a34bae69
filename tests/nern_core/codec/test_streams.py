import pytest
from hypothesis import given
from hypothesis import strategies as st

from nern_core.codec.backend import Backend, backend_for, fastest_backend, numpy_backend
from nern_core.codec.lanes import LANE_INTEGERS, lane_size, lane_sizes
from nern_core.codec.layers import LARGEST_INTEGER, CodedLayer, LayerShape, WeightType
from nern_core.codec.streams import decode_kernel, decode_layers, open_layers, pack_layers, unpack_layers
from nern_core.contract.errors import NernError
from tests.nern_core.codec.coded_layers import are_equal, layer_of, random_layer

BACKENDS = pytest.mark.parametrize("backend", [fastest_backend(), numpy_backend()], ids=["compiled", "numpy"])
SHAPES = [
    (1, 1, (1,)),
    (3, 4, (2,)),
    (6, 5, (3, 3)),
    (2, 7, (5, 5)),
    (4, 2, (7, 7)),
    (5, 3, (1, 3)),
    (2, 3, (3, 3, 3)),
    (2, 2, (2, 3, 5)),
    (3, 1, (16, 16)),
    (10, 100, (1,)),
]


def unpacked(layer: CodedLayer, backend: Backend) -> CodedLayer:
    return unpack_layers(pack_layers([layer], backend), [layer.shape], backend)[0]


@BACKENDS
@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize("is_transformed", [False, True])
def test_layers_of_any_shape_come_back(
    shape: tuple[int, int, tuple[int, ...]], is_transformed: bool, backend: Backend
) -> None:
    layer = random_layer(*shape, is_transformed=is_transformed)
    assert are_equal(unpacked(layer, backend), layer)


@BACKENDS
@pytest.mark.parametrize("scale", [-10, 0, 24, 29, 30, 33, 45, 63, 80])
def test_integers_of_any_scale_come_back(scale: int, backend: Backend) -> None:
    layer = random_layer(8, 16, (3, 3), scale=scale)
    assert are_equal(unpacked(layer, backend), layer)


@BACKENDS
@pytest.mark.parametrize("scale", [0, 24, 30, 63])
@given(numbers=st.lists(st.integers(-LARGEST_INTEGER, LARGEST_INTEGER), min_size=1, max_size=30))
def test_integers_that_do_not_fit_their_class_come_back(scale: int, numbers: list[int], backend: Backend) -> None:
    layer = layer_of(numbers, scale=scale)
    assert are_equal(unpacked(layer, backend), layer)


@BACKENDS
def test_more_lanes_than_python_handles_singly_come_back(backend: Backend) -> None:
    layer = random_layer(33, 2000, (3, 3), scale=28)
    assert len(lane_sizes(layer.shape.weights, 9)) > 16
    assert are_equal(unpacked(layer, backend), layer)


def test_layers_of_many_shapes_together_have_the_same_bytes_from_both_backends() -> None:
    layers = [random_layer(*shape, seed=seed) for seed, shape in enumerate(SHAPES)]
    layers += [random_layer(40, 1000, (3, 3)), random_layer(400, 500, (1,), scale=31)]
    streams = pack_layers(layers)
    assert pack_layers(layers, numpy_backend()) == streams
    found = unpack_layers(streams, [layer.shape for layer in layers])
    assert all(are_equal(*pair) for pair in zip(found, layers, strict=True))


@pytest.mark.parametrize("weight_type", list(WeightType))
@pytest.mark.parametrize("is_transformed", [False, True])
def test_weights_have_the_same_bits_from_both_backends(weight_type: WeightType, is_transformed: bool) -> None:
    layers = [random_layer(*shape, is_transformed=is_transformed, seed=seed) for seed, shape in enumerate(SHAPES)]
    layers.append(random_layer(40, 2000, (3, 3), is_transformed=is_transformed))
    packed = open_layers(pack_layers(layers), [layer.shape for layer in layers])
    types = [weight_type] * len(layers)
    compiled, plain = (decode_layers(packed, types, backend) for backend in (fastest_backend(), numpy_backend()))
    assert [(part.dtype, part.shape) for part in compiled] == [
        (weight_type.storage, layer.shape.dimensions) for layer in layers
    ]
    assert [part.tobytes() for part in compiled] == [part.tobytes() for part in plain]


def test_weights_of_several_types_are_decoded_together() -> None:
    layers = [random_layer(2, 3, (3, 3), seed=seed) for seed in range(4)]
    packed = open_layers(pack_layers(layers), [layer.shape for layer in layers])
    for backend in (fastest_backend(), numpy_backend()):
        together = decode_layers(packed, list(WeightType), backend)
        for weights, layer, weight_type in zip(together, packed, WeightType, strict=True):
            assert weights.tobytes() == decode_layers([layer], [weight_type], backend)[0].tobytes()


def test_a_kernel_is_decoded_alone() -> None:
    layer = random_layer(30, 150, (3, 3), is_transformed=True)
    (packed,) = open_layers(pack_layers([layer]), [layer.shape])
    (weights,) = decode_layers([packed], [WeightType.FLOAT32])
    for place in [(0, 0), (24, 40), (24, 41), (29, 149)]:
        assert decode_kernel(packed, *place, WeightType.FLOAT32).tobytes() == weights[place].tobytes()


@BACKENDS
def test_kernels_larger_than_a_lane_are_lanes_of_their_own(backend: Backend) -> None:
    layer = random_layer(1, 3, (40_000,))
    assert are_equal(unpacked(layer, backend), layer)
    (packed,) = open_layers(pack_layers([layer]), [layer.shape])
    (weights,) = decode_layers([packed], [WeightType.FLOAT32], backend)
    assert packed.lanes == 3
    assert weights.tobytes() == decode_layers([packed], [WeightType.FLOAT32], numpy_backend())[0].tobytes()


@BACKENDS
def test_tables_of_zeros_take_no_bits(backend: Backend) -> None:
    """Only the byte of flags and the state of the lane are left, and two means in each layer."""
    streams = pack_layers([layer_of([0] * 1000, scale=0)] * 20, backend)
    assert len(streams[1]) <= 20 + 4


def test_a_layer_is_decoded_without_the_streams_of_the_others() -> None:
    layers = [random_layer(4, 5, (3, 3), seed=seed) for seed in range(3)]
    streams = pack_layers(layers)
    packed = open_layers([*streams[:3], b"", streams[4]], [layer.shape for layer in layers])
    expected = open_layers(streams, [layer.shape for layer in layers])
    found = decode_layers(packed[2:], [WeightType.FLOAT32])[0]
    assert found.tobytes() == decode_layers(expected[2:], [WeightType.FLOAT32])[0].tobytes()


def test_no_layers_take_a_few_bytes() -> None:
    streams = pack_layers([])
    assert [len(stream) for stream in streams] == [9, 0]
    assert unpack_layers(streams, []) == ()


def test_a_layer_of_zeros_takes_four_bytes() -> None:
    layer = layer_of([0] * 30_000)
    assert [len(stream) for stream in pack_layers([layer])][1:] == [1 + 4 + 1, 4]


def test_lanes_are_whole_kernels() -> None:
    assert lane_size(1) == LANE_INTEGERS
    assert lane_size(9) == LANE_INTEGERS // 9 * 9
    assert lane_size(2 * LANE_INTEGERS) == 2 * LANE_INTEGERS
    assert lane_sizes(100_000, 9) == [32_760, 32_760, 32_760, 1720]


def test_integers_that_cannot_be_packed_are_refused() -> None:
    with pytest.raises(ValueError, match="integers are within"):
        layer_of([LARGEST_INTEGER + 1])


def test_integers_of_another_type_are_refused() -> None:
    layer = random_layer(2, 3, (3, 3))
    with pytest.raises(ValueError, match="integers are int32, not int64"):
        CodedLayer(layer.integers.astype("int64"), layer.tables, layer.sides)


def test_tables_that_do_not_fit_the_integers_are_refused() -> None:
    layer, other = random_layer(2, 3, (3, 3)), random_layer(3, 2, (3, 3))
    with pytest.raises(ValueError, match="do not fit its integers"):
        CodedLayer(layer.integers, other.tables, layer.sides)


@pytest.mark.parametrize("sides", [(513,), (1, 1, 1, 2)])
def test_kernels_with_a_long_side_or_four_axes_cannot_be_transformed(sides: tuple[int, ...]) -> None:
    assert are_equal(unpacked(random_layer(1, 2, sides), fastest_backend()), random_layer(1, 2, sides))
    with pytest.raises(ValueError, match="cannot be transformed"):
        random_layer(1, 2, sides, is_transformed=True)


def test_a_missing_stream_is_an_error() -> None:
    layer = random_layer(2, 3, (3, 3))
    with pytest.raises(NernError, match="does not have one stream per layer"):
        unpack_layers(pack_layers([layer])[:-1], [layer.shape])


@BACKENDS
@pytest.mark.parametrize("weight_type", list(WeightType))
def test_weights_out_of_the_range_of_their_type_are_an_error(weight_type: WeightType, backend: Backend) -> None:
    layer = layer_of([1, LARGEST_INTEGER])
    layer.tables.exponents.filters[0] = {"float16": 0, "float64": 8000}.get(weight_type.value, 832)
    (packed,) = open_layers(pack_layers([layer]), [LayerShape(1, 2, (1,))])
    with pytest.raises(NernError, match="weights are out of range"):
        decode_layers([packed], [weight_type], backend)


def test_few_integers_need_no_compiled_loops() -> None:
    assert backend_for(500_000) is numpy_backend()
    assert backend_for(600_000) is fastest_backend()
