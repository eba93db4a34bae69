"""This project's own architectures."""

from functools import partial

from nern_core.networks.architecture import Architecture, Augmentation, Preprocessing
from nern_core.networks.cifar_resnet import CifarResNet
from nern_core.networks.digits_cnn import DigitsCnn

_CIFAR = Preprocessing(
    mean=(0.485, 0.456, 0.406),
    std=(0.229, 0.224, 0.225),
    input_size=32,
    augmentation=Augmentation(crop_padding=4, horizontal_flip=True),
)
_DIGITS = Preprocessing(
    mean=(0.5, 0.5, 0.5), std=(0.5, 0.5, 0.5), input_size=8, augmentation=Augmentation(crop_padding=1)
)
_CIFAR_RESNET_DEPTHS = (20, 32, 44, 56, 110)
_BUILT_IN = {
    entry.name: entry
    for entry in (
        Architecture(name="digits-cnn", build=DigitsCnn, preprocessing=_DIGITS),
        *(
            Architecture(
                name=f"cifar-resnet{depth}", build=partial(CifarResNet, (depth - 2) // 6), preprocessing=_CIFAR
            )
            for depth in _CIFAR_RESNET_DEPTHS
        ),
    )
}


class BuiltInArchitectures:
    """The provider of this project's own architectures, whose names have no prefix."""

    prefix = ""

    def names(self) -> list[str]:
        """Return all names."""
        return list(_BUILT_IN)

    def find(self, name: str) -> Architecture | None:
        """Return the architecture of this name; None if there is none."""
        return _BUILT_IN.get(name)
