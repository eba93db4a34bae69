import pytest
import torch

from nern_core.errors import NernError
from nern_core.kernels import assemble, by_kernel_shape, cut, kernel_layers


def test_represents_convolutions_of_spatial_size_2x2_and_larger_only() -> None:
    tensors = {
        "conv3": torch.ones(4, 2, 3, 3),
        "conv1": torch.ones(4, 2, 1, 1),
        "row": torch.ones(4, 2, 1, 3),
        "conv2": torch.ones(4, 2, 2, 2),
        "linear": torch.ones(4, 2),
        "mask": torch.ones(4, 2, 3, 3, dtype=torch.int64),
        "empty": torch.ones(0, 2, 3, 3),
    }
    assert [layer.name for layer in kernel_layers(tensors)] == ["conv3", "conv2"]


def test_follows_the_order_of_the_network() -> None:
    tensors = {"a": torch.ones(1, 1, 3, 3), "b": torch.ones(1, 1, 3, 3)}
    assert [layer.name for layer in kernel_layers(tensors, ["b", "a"])] == ["b", "a"]


def test_kernels_are_in_raster_order_with_the_channel_fastest() -> None:
    weight = torch.arange(2 * 3 * 4, dtype=torch.float32).reshape(2, 3, 2, 2)
    assert torch.equal(cut(weight)[4], weight[1, 1].flatten())


def test_assembling_undoes_cutting() -> None:
    weight = torch.randn(5, 3, 2, 3)
    (layer,) = kernel_layers({"w": weight})
    assert torch.equal(assemble(cut(weight), layer), weight)


def test_groups_layers_by_kernel_shape() -> None:
    tensors = {"a": torch.ones(1, 1, 3, 3), "b": torch.ones(1, 1, 7, 7), "c": torch.ones(2, 1, 3, 3)}
    assert by_kernel_shape(kernel_layers(tensors)) == {(3, 3): (0, 2), (7, 7): (1,)}


def test_a_checkpoint_without_kernels_is_refused() -> None:
    with pytest.raises(NernError) as error:
        kernel_layers({"linear": torch.ones(4, 4)})
    assert error.value.code == "no_kernels"
