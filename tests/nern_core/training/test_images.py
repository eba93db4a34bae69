import pytest
import torch
from torch import Tensor

from nern_core.networks import find_architecture
from nern_core.training.images import ImageSource, Mixup, NoiseImages, StoredImages, images_per_batch


@pytest.mark.parametrize(
    ("wanted", "input_size", "expected"), [(256, 32, 256), (1000, 32, 512), (128, 224, 10), (1, 224, 1), (8, 2000, 1)]
)
def test_batches_of_large_images_are_smaller(wanted: int, input_size: int, expected: int) -> None:
    assert images_per_batch(wanted, input_size) == expected


class Fixed(ImageSource):
    """Returns the same batch every time."""

    def __init__(self, batch: Tensor) -> None:
        self.batch = batch

    def choose(self) -> tuple[Tensor, ...]:
        return (self.batch,)

    def inputs(self, *chosen: Tensor) -> Tensor:
        return chosen[0]


def test_mixup_blends_each_image_with_its_mirror_place_in_the_batch() -> None:
    batch = torch.arange(4.0).reshape(4, 1, 1, 1).expand(4, 3, 2, 2)
    mixed = Mixup(Fixed(batch), torch.Generator().manual_seed(0)).draw()
    shares = torch.rand((4, 1, 1, 1), generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(mixed, shares * batch + (1 - shares) * batch.flip(0))


def test_synthesized_images_are_drawn_and_augmented_like_training_images() -> None:
    preprocessing = find_architecture("digits-cnn").preprocessing  # shifts by one pixel
    images = torch.full((5, 3, 8, 8), 2.0)
    source = StoredImages(images, preprocessing, 64, torch.Generator().manual_seed(0), torch.device("cpu"))
    drawn = source.draw()
    assert drawn.shape == (64, 3, 8, 8)
    assert set(drawn.unique().tolist()) == {0.0, 2.0}
    assert (drawn[:, :, 1:7, 1:7] == 2.0).all()


@pytest.mark.parametrize("kind", ["stored", "mixup", "noise"])
def test_all_that_is_random_is_chosen_before_the_inputs_are_made(kind: str) -> None:
    generator, cpu = torch.Generator().manual_seed(0), torch.device("cpu")
    preprocessing = find_architecture("cifar-resnet20").preprocessing  # crops and mirrors
    images = torch.randint(256, (9, 3, 32, 32), dtype=torch.uint8, generator=generator)
    stored = StoredImages(images, preprocessing, 8, generator, cpu)
    sources = {"stored": stored, "mixup": Mixup(stored, generator), "noise": NoiseImages(32, 8, generator, cpu)}
    chosen = sources[kind].choose()
    state = generator.get_state()
    inputs = sources[kind].inputs(*chosen)
    assert torch.equal(generator.get_state(), state)
    assert torch.equal(sources[kind].inputs(*chosen), inputs)
    assert not torch.equal(sources[kind].draw(), inputs)
