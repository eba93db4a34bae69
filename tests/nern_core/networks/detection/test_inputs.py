import pytest
import torch

from nern_core.networks.detection.inputs import images_of

BATCH = torch.zeros(2, 3, 8, 8)
IMAGES = [torch.zeros(3, 8, 8), torch.zeros(3, 6, 8)]


@pytest.mark.parametrize("item", [BATCH, (BATCH,), (BATCH, [{}, {}]), [BATCH, torch.zeros(2, dtype=torch.int64)]])
def test_a_tensor_is_a_batch_with_or_without_targets(item: object) -> None:
    assert images_of(item) is BATCH


@pytest.mark.parametrize("item", [IMAGES, tuple(IMAGES), (IMAGES, [{}, {}]), (tuple(IMAGES), ({}, {})), [IMAGES]])
def test_images_of_any_sizes_are_a_list(item: object) -> None:
    found = images_of(item)
    assert isinstance(found, list)
    assert all(one is other for one, other in zip(found, IMAGES, strict=True))


@pytest.mark.parametrize("item", [{"images": IMAGES}, torch.zeros(8, 8), [], ["image"]])
def test_anything_else_is_left_to_the_network(item: object) -> None:
    assert images_of(item) is None
