"""Where the inputs of distillation come from."""

from typing import Protocol

import torch
from torch import Tensor

from nern_core.datasets import augment, to_inputs
from nern_core.zoo import Preprocessing

# The published data-free runs draw from [-2, 2], about the range of normalized images.
_NOISE_RANGE = 2.0
# 512 images of 32x32 pixels or 10 of 224x224, with which the activations of a ResNet50 fit into 2 GB.
_MOST_PIXELS_PER_BATCH = 2**19


def images_per_batch(wanted: int, input_size: int) -> int:
    """As many images as wanted, or as memory allows for images of so many pixels on each side; at least one."""
    return max(1, min(wanted, _MOST_PIXELS_PER_BATCH // input_size**2))


class ImageSource(Protocol):
    """Gives inputs batch after batch."""

    def draw(self) -> Tensor:
        """A new batch of normalized inputs, float32 (n, 3, H, W), channels last, on the networks' device."""


class StoredImages:
    """Images of a stack (N, 3, H, W), drawn with replacement, with the augmentation of the preprocessing.

    Those of a training split are uint8 pixels; those made from the network itself are float32 inputs already.
    """

    def __init__(
        self,
        images: Tensor,
        preprocessing: Preprocessing,
        count: int,
        generator: torch.Generator,
        device: torch.device,
    ) -> None:
        self._images = images.cpu()
        self._preprocessing = preprocessing
        self._count = count
        self._generator = generator
        self._device = device

    def draw(self) -> Tensor:
        """A new batch of inputs."""
        chosen = torch.randint(len(self._images), (self._count,), generator=self._generator)
        images = augment(self._images[chosen], self._preprocessing, self._generator).to(self._device)
        if images.dtype == torch.uint8:
            return to_inputs(images, self._preprocessing)
        return images.contiguous(memory_format=torch.channels_last)


class Mixup:
    """Blends each image of a source with another one of its batch, in random shares (Zhang et al., 2018).

    A network is sure of the images that it was trained on; of blends it is not, and so its logits tell more.
    """

    def __init__(self, source: ImageSource, generator: torch.Generator) -> None:
        self._source = source
        self._generator = generator

    def draw(self) -> Tensor:
        """A new batch of inputs."""
        inputs = self._source.draw()
        share = torch.rand((len(inputs), 1, 1, 1), generator=self._generator).to(inputs.device)
        return torch.lerp(inputs.flip(0), inputs, share).contiguous(memory_format=torch.channels_last)


class NoiseImages:
    """Every value uniform in [-2, 2]: the published way without data.

    Measured on ResNet20, distillation on them alone leads away from the original.
    """

    def __init__(self, input_size: int, count: int, generator: torch.Generator, device: torch.device) -> None:
        self._shape = (count, 3, input_size, input_size)
        self._generator = generator
        self._device = device

    def draw(self) -> Tensor:
        """A new batch of inputs."""
        noise = torch.empty(self._shape).uniform_(-_NOISE_RANGE, _NOISE_RANGE, generator=self._generator)
        return noise.to(self._device, memory_format=torch.channels_last)
