"""Images as the inputs of distillation.

All random choices are drawn on the CPU, from the same generator for every device; inputs are made from them on the
device.
"""

from abc import abstractmethod

import torch
from torch import Tensor

from nern_core.networks import Preprocessing
from nern_core.networks.datasets import change, draw_changes, to_inputs
from nern_core.training.input_source import InputSource

# The published data-free runs draw from [-2, 2], about the range of normalized images.
_NOISE_RANGE = 2.0
# 512 images of 32x32 pixels or 10 of 224x224: then the activations of a ResNet50 fit into 2 GB.
_MOST_PIXELS_PER_BATCH = 2**19
_ACTIVATION_BYTES_PER_PIXEL = 2**12
# One training may use the GPU's memory, except that of the predictor and of the libraries' workspaces.
_SHARE_OF_GPU_MEMORY = 0.5
_CPU = torch.device("cpu")


def images_per_batch(wanted: int, input_size: int, device: torch.device = _CPU) -> int:
    """Return `wanted`, or fewer if memory requires it for images of `input_size` pixels on each side; at least one."""
    return max(1, min(wanted, _most_pixels(device) // input_size**2))


def _most_pixels(device: torch.device) -> int:
    if device.type != "cuda":
        return _MOST_PIXELS_PER_BATCH
    memory = torch.cuda.get_device_properties(device).total_memory
    return max(_MOST_PIXELS_PER_BATCH, int(_SHARE_OF_GPU_MEMORY * memory) // _ACTIVATION_BYTES_PER_PIXEL)


class ImageSource(InputSource):
    """A source of images, batch after batch."""

    def draw(self) -> Tensor:
        """Draw a new batch of inputs, see `inputs`."""
        return self.inputs(*self.choose())

    @abstractmethod
    def inputs(self, *chosen: Tensor) -> Tensor:
        """Make normalized inputs, float32 (n, 3, H, W), channels last, on the networks' device, from chosen data."""


class StoredImages(ImageSource):
    """Images of a stack (N, 3, H, W), drawn with replacement, with the augmentation of the preprocessing.

    Those of a training split are uint8 pixels; those made from the network itself are already float32 inputs.
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

    def choose(self) -> tuple[Tensor, ...]:
        """Draw stored images, and their random changes."""
        rows = torch.randint(len(self._images), (self._count,), generator=self._generator)
        return self._images[rows], *draw_changes(self._count, self._preprocessing.augmentation, self._generator)

    def inputs(self, *chosen: Tensor) -> Tensor:
        """Apply the changes and make inputs."""
        images, *changes = (tensor.to(self._device) for tensor in chosen)
        changed = change(images, self._preprocessing.augmentation, *changes)
        if changed.dtype == torch.uint8:
            return to_inputs(changed, self._preprocessing)
        return changed.contiguous(memory_format=torch.channels_last)


class Mixup(ImageSource):
    """Blends each image of a source with another one of its batch, in random shares (Zhang et al., 2018).

    A network is certain about its training images, but not about blends, so its logits carry more information.
    """

    def __init__(self, source: ImageSource, generator: torch.Generator) -> None:
        self._source = source
        self._generator = generator

    def choose(self) -> tuple[Tensor, ...]:
        """Draw the shares, and data of the source."""
        chosen = self._source.choose()
        return torch.rand((len(chosen[0]), 1, 1, 1), generator=self._generator), *chosen

    def inputs(self, *chosen: Tensor) -> Tensor:
        """Make the inputs of the source and blend them."""
        share, *others = chosen
        inputs = self._source.inputs(*others)
        mixed = torch.lerp(inputs.flip(0), inputs, share.to(inputs.device))
        return mixed.contiguous(memory_format=torch.channels_last)


class NoiseImages(ImageSource):
    """Uniform noise in [-2, 2]: the published method without data.

    Measured on ResNet20, distillation on noise alone moves the network away from the original.
    """

    def __init__(self, input_size: int, count: int, generator: torch.Generator, device: torch.device) -> None:
        self._shape = (count, 3, input_size, input_size)
        self._generator = generator
        self._device = device

    def choose(self) -> tuple[Tensor, ...]:
        """Draw the noise."""
        return (torch.empty(self._shape).uniform_(-_NOISE_RANGE, _NOISE_RANGE, generator=self._generator),)

    def inputs(self, *chosen: Tensor) -> Tensor:
        """Move the noise to the networks' device."""
        (noise,) = chosen
        return noise.to(self._device, memory_format=torch.channels_last)
