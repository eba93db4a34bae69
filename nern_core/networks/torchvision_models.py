"""torchvision's networks by name, such as `torchvision:resnet18` or `torchvision:ssdlite320_mobilenet_v3_large`.

torchvision's compiled operators load only with the torch build that they were made for. With another build (a CPU build
from elsewhere, for example), its import fails on the schema of an operator. Only in this case, `box_operators` replaces
those that its networks need.
"""

from functools import partial
from types import ModuleType
from typing import Any, Final

from torch import nn

from nern_core.networks.architecture import UNCHANGED, USUAL_CROP_SHARE, Architecture, Augmentation, Preprocessing
from nern_core.networks.box_operators import declare_box_operators, use_box_operators

_IMAGENET_MEAN = (0.485, 0.456, 0.406)
_IMAGENET_STD = (0.229, 0.224, 0.225)
_DEFAULT_INPUT_SIZE = 224
# Their published weights need inputs that are renormalized within the network. Their own initialization takes minutes
# and is useless, because the weights are loaded.
_INCEPTION = {"transform_input": True, "init_weights": False}
_ARGUMENTS = {"googlenet": _INCEPTION, "inception_v3": _INCEPTION}
# Classifiers that only training uses: published checkpoints may or may not contain them.
_AUXILIARY = {"googlenet": ("aux1", "aux2"), "inception_v3": ("AuxLogits",)}
_AUXILIARY_OF_MASKS: Final = "aux_classifier"
# Detection networks normalize images themselves, and scale them so that the shorter side has these pixels.
_SIDES: Final = {
    "ssd300_vgg16": 300,
    "ssdlite320_mobilenet_v3_large": 320,
    "fasterrcnn_mobilenet_v3_large_320_fpn": 320,
}
_USUAL_SIDE: Final = 800


class TorchvisionArchitectures:
    """The provider of torchvision's networks: classifiers, detection, segmentation, video and optical flow."""

    prefix = "torchvision"

    def names(self) -> list[str]:
        """Return the names of all networks, the classifiers first."""
        models = import_models()
        parts = (models, models.detection, models.segmentation, models.video, models.optical_flow)
        return [name for part in parts for name in models.list_models(module=part)]

    def find(self, name: str) -> Architecture | None:
        """Return the network of this name; None if there is none."""
        if name not in self.names():
            return None
        models = import_models()
        builder = models.get_model_builder(name)
        preset = next(iter(models.get_model_weights(name))).transforms
        full_name = f"{self.prefix}:{name}"
        match builder.__module__.removeprefix(f"{models.__name__}.").partition(".")[0]:
            case "detection":
                return _detector(full_name, name)
            case "segmentation":
                return _segmentation(full_name, name, preset())
            case "video":
                return Architecture(name=full_name, build=partial(_build, name), is_classifier=False)
            case "optical_flow":
                return Architecture(name=full_name, build=lambda classes: _made(name), is_classifier=False)
            case _:
                return _classifier(full_name, name, preset())


def _classifier(full_name: str, name: str, preset: Any) -> Architecture:  # noqa: ANN401 # torchvision has no type information
    crop, resized = preset.crop_size, preset.resize_size
    return Architecture(
        name=full_name,
        build=partial(_build, name),
        auxiliary=_AUXILIARY.get(name, ()),
        preprocessing=Preprocessing(
            mean=_triple(preset.mean, _IMAGENET_MEAN),
            std=_triple(preset.std, _IMAGENET_STD),
            input_size=crop[0] if crop else _DEFAULT_INPUT_SIZE,
            crop_share=min(1.0, crop[0] / resized[0]) if crop and resized else USUAL_CROP_SHARE,
            augmentation=Augmentation(crop_padding=0, horizontal_flip=True),
        ),
    )


def _detector(full_name: str, name: str) -> Architecture:
    return Architecture(
        name=full_name,
        # Weights of a backbone alone would be downloaded.
        build=partial(_build, name, weights_backbone=None),
        preprocessing=Preprocessing(
            mean=UNCHANGED.mean, std=UNCHANGED.std, input_size=_SIDES.get(name, _USUAL_SIDE), crop_share=1.0
        ),
        is_classifier=False,
    )


def _segmentation(full_name: str, name: str, preset: Any) -> Architecture:  # noqa: ANN401 # torchvision has no type information
    # LRASPP has no auxiliary classifier, and no argument for one.
    has_auxiliary = not name.startswith("lraspp")
    arguments = {"aux_loss": True} if has_auxiliary else {}
    return Architecture(
        name=full_name,
        build=partial(_build, name, weights_backbone=None, **arguments),
        auxiliary=(_AUXILIARY_OF_MASKS,) if has_auxiliary else (),
        preprocessing=Preprocessing(
            mean=_triple(preset.mean, _IMAGENET_MEAN),
            std=_triple(preset.std, _IMAGENET_STD),
            input_size=preset.resize_size[0],
            crop_share=1.0,
        ),
        is_classifier=False,
    )


def _build(name: str, classes: int, **arguments: object) -> nn.Module:
    return _made(name, num_classes=classes, **_ARGUMENTS.get(name, {}), **arguments)


def _made(name: str, **arguments: object) -> nn.Module:
    network: nn.Module = import_models().get_model(name, weights=None, **arguments)
    return network


def _triple(values: list[float] | None, default: tuple[float, float, float]) -> tuple[float, float, float]:
    red, green, blue = values or default
    return (float(red), float(green), float(blue))


def import_models() -> ModuleType:
    """Import `torchvision.models`, with box operators in plain torch if torchvision's own do not load."""
    try:
        from torchvision import models
    except RuntimeError as error:
        if "torchvision::nms does not exist" not in str(error):
            raise
        declare_box_operators()
        from torchvision import models

        use_box_operators()
    return models  # type: ignore[no-any-return] # torchvision has no type information
