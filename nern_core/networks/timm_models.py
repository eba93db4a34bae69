"""timm's networks by name, such as `timm:mobilenetv3_small_100`. They need the extra `timm`."""

from functools import partial
from types import ModuleType
from typing import Any

from torch import nn

from nern_core.contract.extras import extra_error
from nern_core.networks.architecture import USUAL_CROP_SHARE, Architecture, Augmentation, Preprocessing
from nern_core.networks.torchvision_models import import_models


class TimmArchitectures:
    """The provider of timm's networks. Its methods raise `NernError` (`missing_extra`) if timm is not installed."""

    prefix = "timm"

    def names(self) -> list[str]:
        """Return the names of all networks."""
        names: list[str] = _timm().list_models()
        return names

    def find(self, name: str) -> Architecture | None:
        """Return the network of this name, with or without the tag of its weights; None if there is none."""
        timm = _timm()
        if not timm.is_model(name):
            return None
        try:
            configuration: dict[str, Any] = timm.get_pretrained_cfg(name).to_dict()
        except RuntimeError:  # there is no such tag
            return None
        _, height, _ = configuration["input_size"]
        return Architecture(
            name=f"{self.prefix}:{name}",
            build=partial(_build, name),
            takes_classes=True,
            preprocessing=Preprocessing(
                mean=_triple(configuration["mean"]),
                std=_triple(configuration["std"]),
                input_size=height,
                crop_share=float(configuration.get("crop_pct") or USUAL_CROP_SHARE),
                augmentation=Augmentation(crop_padding=0, horizontal_flip=True),
            ),
        )


def _build(name: str, classes: int) -> nn.Module:
    network: nn.Module = _timm().create_model(name, pretrained=False, num_classes=classes)
    return network


def _triple(values: tuple[float, ...]) -> tuple[float, float, float]:
    red, green, blue = values
    return (float(red), float(green), float(blue))


def _timm() -> ModuleType:
    # timm imports torchvision, which may need the missing operators.
    import_models()
    try:
        import timm
    except ModuleNotFoundError as error:
        if error.name != "timm":
            raise
        raise extra_error("Networks of timm need", "timm") from error
    return timm
