import math
import time

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from nern_core.formats.kernel_layer import KernelLayer
from nern_core.networks import find_architecture
from nern_core.tensors.kernels import assemble, by_head, cut, select_layers

SHAPES = {
    "conv": (5, 3, 2, 3),
    "depthwise": (6, 1, 3, 3),
    "conv1d": (4, 3, 5),
    "conv3d": (4, 2, 3, 1, 3),
    "linear": (4, 37),
    "pointwise": (4, 32, 1, 1),
    "embedding": (1, 7, 40),
}


def layer_of(tensor: torch.Tensor) -> KernelLayer:
    (layer,) = select_layers({"w": tensor}, ["w"])
    return layer


@pytest.mark.parametrize(
    ("name", "filters", "channels", "kernel_shape", "head"),
    [
        ("conv", 5, 3, (2, 3), "2x3"),
        ("depthwise", 6, 1, (3, 3), "3x3"),
        ("conv1d", 4, 3, (5,), "5"),
        ("conv3d", 4, 2, (3, 1, 3), "3x1x3"),
        ("linear", 4, 3, (16,), "tile16"),
        ("pointwise", 4, 2, (16,), "tile16"),
        ("embedding", 1, 18, (16,), "tile16"),
    ],
)
def test_every_shape_has_coordinates_and_a_head(
    name: str, filters: int, channels: int, kernel_shape: tuple[int, ...], head: str
) -> None:
    layer = layer_of(torch.ones(SHAPES[name]))
    assert (layer.filters, layer.channels, layer.kernel_shape, layer.head) == (filters, channels, kernel_shape, head)
    assert layer.kernels == filters * channels
    assert layer.kernel_values == math.prod(kernel_shape)
    assert layer.weights == math.prod(SHAPES[name])


def test_kernels_are_in_raster_order_with_the_channel_fastest() -> None:
    weight = torch.arange(2 * 3 * 4, dtype=torch.float32).reshape(2, 3, 2, 2)
    assert torch.equal(cut(weight, layer_of(weight))[4], weight[1, 1].flatten())


def test_a_matrix_is_cut_along_its_inputs_and_its_last_tile_filled_with_zeros() -> None:
    weight = torch.arange(2 * 20, dtype=torch.float32).reshape(2, 20)
    kernels = cut(weight, layer_of(weight))
    assert kernels[2].tolist() == weight[1, :16].tolist()
    assert kernels[3].tolist() == [*weight[1, 16:].tolist(), *[0.0] * 12]


@pytest.mark.parametrize("module", [torch.nn.ConvTranspose1d, torch.nn.ConvTranspose2d, torch.nn.ConvTranspose3d])
def test_a_transposed_convolution_has_its_inputs_as_filters(module: type[torch.nn.ConvTranspose2d]) -> None:
    layer = layer_of(module(6, 4, 3, groups=2).weight)
    assert (layer.filters, layer.channels) == (6, 2)


@settings(max_examples=60)
@given(shape=st.lists(st.integers(1, 9), min_size=2, max_size=6).map(tuple))
def test_assembling_undoes_cutting_for_any_shape(shape: tuple[int, ...]) -> None:
    weight = torch.randn(shape, generator=torch.Generator().manual_seed(0))
    layer = layer_of(weight)
    kernels = cut(weight, layer)
    assert kernels.shape == (layer.kernels, layer.kernel_values)
    assert torch.equal(assemble(kernels, layer), weight)


def test_a_tensor_that_is_not_contiguous_is_cut_as_it_looks() -> None:
    weight = torch.randn(4, 3, 3, 3)
    turned = weight.to(memory_format=torch.channels_last)
    assert torch.equal(cut(turned, layer_of(turned)), cut(weight, layer_of(weight)))


def test_gradients_reach_every_value_but_those_that_fill_a_tile_up() -> None:
    layer = layer_of(torch.ones(2, 20))
    kernels = torch.ones(4, 16, requires_grad=True)
    (gradient,) = torch.autograd.grad(assemble(kernels, layer).sum(), kernels)
    assert gradient.sum(dim=1).tolist() == [16, 4, 16, 4]


def test_layers_follow_the_order_of_the_network() -> None:
    tensors = {"a": torch.ones(8, 8, 3, 3), "b": torch.ones(8, 8, 3, 3)}
    assert [layer.name for layer in select_layers(tensors, order=["b", "a"])] == ["b", "a"]


def test_resnet20_is_represented_by_all_of_its_19_convolutions() -> None:
    layers = select_layers(find_architecture("cifar-resnet20").build(10).state_dict())
    assert (len(layers), layers[0].name, {layer.head for layer in layers}) == (19, "conv1.weight", {"3x3"})
    assert (sum(layer.kernels for layer in layers), sum(layer.weights for layer in layers)) == (29_744, 267_696)


@pytest.mark.parametrize("dtype", [torch.int64, torch.bool, torch.complex64])
def test_only_floating_point_tensors_are_represented(dtype: torch.dtype) -> None:
    tensors = {"mask": torch.ones(8, 8, 3, 3, dtype=dtype), "conv": torch.ones(8, 8, 3, 3)}
    assert [layer.name for layer in select_layers(tensors)] == ["conv"]


def test_groups_layers_by_head() -> None:
    tensors = {"a": torch.ones(1, 1, 3, 3), "b": torch.ones(1, 1, 7, 7), "c": torch.ones(2, 1, 3, 3)}
    assert by_head(select_layers(tensors, ["*"])) == {"3x3": (0, 2), "7x7": (1,)}


def test_the_layers_of_a_head_are_grouped_in_time_proportional_to_their_number() -> None:
    layers = [KernelLayer(name=str(index), shape=(1, 1, 1), tile=None, dtype="float16") for index in range(100_000)]
    started = time.process_time()
    assert by_head(layers) == {"1": tuple(range(100_000))}
    assert time.process_time() - started < 5


@pytest.mark.parametrize(("shape", "tile"), [((4,), None), ((4, 3), None), ((4, 0, 3), None), ((4,), 16), ((4, 3), 0)])
def test_a_tensor_without_kernels_is_no_layer(shape: tuple[int, ...], tile: int | None) -> None:
    with pytest.raises(ValueError, match="has no kernels"):
        KernelLayer(name="w", shape=shape, tile=tile, dtype="float32")
