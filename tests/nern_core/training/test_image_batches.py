import pytest

from nern_core.training.images import images_per_batch


@pytest.mark.parametrize(
    ("wanted", "input_size", "expected"), [(256, 32, 256), (1000, 32, 512), (128, 224, 10), (1, 224, 1), (8, 2000, 1)]
)
def test_batches_of_large_images_are_smaller(wanted: int, input_size: int, expected: int) -> None:
    assert images_per_batch(wanted, input_size) == expected
