"""torchvision's classifiers by name, such as `torchvision:resnet18`.

torchvision's compiled operators load only with the torch build that they were made for. With another build (a CPU build
from elsewhere, for example), its import fails on the schema of an operator that no classifier uses. Only in this case,
the two missing schemas are declared, without implementations.
"""

from functools import partial
from types import ModuleType

import torch
from torch import nn

from nern_core.networks.architecture import USUAL_CROP_SHARE, Architecture, Augmentation, Preprocessing

_IMAGENET_MEAN = (0.485, 0.456, 0.406)
_IMAGENET_STD = (0.229, 0.224, 0.225)
_DEFAULT_INPUT_SIZE = 224
_BOX_OPERATORS = ("nms", "qnms")
# Their published weights need inputs that are renormalized within the network. Their own initialization takes minutes
# and is useless, because the weights are loaded.
_INCEPTION = {"transform_input": True, "init_weights": False}
_ARGUMENTS = {"googlenet": _INCEPTION, "inception_v3": _INCEPTION}
# Classifiers that only training uses: published checkpoints may or may not contain them.
_AUXILIARY = {"googlenet": ("aux1", "aux2"), "inception_v3": ("AuxLogits",)}
# The declared schemas live as long as this object.
_declared: list[torch.library.Library] = []


class TorchvisionArchitectures:
    """The provider of torchvision's classifiers."""

    prefix = "torchvision"

    def names(self) -> list[str]:
        """Return the names of all classifiers."""
        models = import_models()
        names: list[str] = models.list_models(module=models)
        return names

    def find(self, name: str) -> Architecture | None:
        """Return the classifier of this name; None if there is none."""
        if name not in self.names():
            return None
        preset = next(iter(import_models().get_model_weights(name))).transforms()
        crop, resized = preset.crop_size, preset.resize_size
        return Architecture(
            name=f"{self.prefix}:{name}",
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


def _build(model_name: str, classes: int) -> nn.Module:
    arguments = _ARGUMENTS.get(model_name, {})
    model: nn.Module = import_models().get_model(model_name, weights=None, num_classes=classes, **arguments)
    return model


def _triple(values: list[float] | None, default: tuple[float, float, float]) -> tuple[float, float, float]:
    red, green, blue = values or default
    return (float(red), float(green), float(blue))


def import_models() -> ModuleType:
    """Import `torchvision.models`, with the missing operators declared if necessary."""
    try:
        from torchvision import models
    except RuntimeError as error:
        if "torchvision::nms does not exist" not in str(error):
            raise
        _declare_box_operators()
        from torchvision import models
    return models  # type: ignore[no-any-return] # torchvision has no type information


def _declare_box_operators() -> None:
    library = torch.library.Library("torchvision", "DEF")
    for operator in _BOX_OPERATORS:
        library.define(f"{operator}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
    _declared.append(library)
