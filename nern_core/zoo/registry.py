"""Find an architecture by its name and build the network of a checkpoint."""

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from nern_core.errors import NernError
from nern_core.zoo.architecture import Architecture, Augmentation, Preprocessing
from nern_core.zoo.cifar_resnet import CifarResNet
from nern_core.zoo.digits_cnn import DigitsCnn
from nern_core.zoo.torchvision_models import PREFIX, torchvision_architecture

_CIFAR = Preprocessing(
    mean=(0.485, 0.456, 0.406),
    std=(0.229, 0.224, 0.225),
    input_size=32,
    augmentation=Augmentation(crop_padding=4, horizontal_flip=True),
)
_DIGITS = Preprocessing(
    mean=(0.5, 0.5, 0.5), std=(0.5, 0.5, 0.5), input_size=8, augmentation=Augmentation(crop_padding=1)
)
_CPU = torch.device("cpu")
CIFAR_RESNET_DEPTHS = (20, 32, 44, 56, 110)
_BUILT_IN = {
    entry.name: entry
    for entry in (
        Architecture(name="digits-cnn", build=DigitsCnn, preprocessing=_DIGITS),
        *(
            Architecture(
                name=f"cifar-resnet{depth}", build=partial(CifarResNet, (depth - 2) // 6), preprocessing=_CIFAR
            )
            for depth in CIFAR_RESNET_DEPTHS
        ),
    )
}


def built_in_names() -> list[str]:
    """Names of this project's own architectures."""
    return list(_BUILT_IN)


def find_architecture(name: str) -> Architecture:
    """Look an architecture up. Raises `NernError` (`unknown_architecture`)."""
    if name.startswith(PREFIX):
        return torchvision_architecture(name)
    if name not in _BUILT_IN:
        raise NernError(
            "unknown_architecture",
            f"There is no architecture '{name}'; use {', '.join(_BUILT_IN)} or torchvision:NAME.",
        )
    return _BUILT_IN[name]


def build_network(architecture: Architecture, tensors: Mapping[str, Tensor], device: torch.device = _CPU) -> nn.Module:
    """Build the network with the weights of a checkpoint, in evaluation mode, frozen, channels last.

    The number of classes is read off the last matrix of the checkpoint. Raises `NernError`
    (`architecture_mismatch`) if names or shapes do not fit.
    """
    network = architecture.build(read_classes(architecture, tensors))
    for name in architecture.auxiliary:
        if not any(tensor.startswith(f"{name}.") for tensor in tensors):
            setattr(network, name, None)
    # Checkpoints from before torch 0.4.1 have no such counters, and evaluation does not read them.
    counters = {n: t for n, t in network.state_dict().items() if n.endswith(".num_batches_tracked")}
    expected = network.state_dict()
    tensors = {n: t for n, t in counters.items() if n not in tensors} | dict(tensors)
    problem = _mismatch({n: t.shape for n, t in expected.items()}, {n: t.shape for n, t in tensors.items()})
    if problem:
        raise NernError(
            "architecture_mismatch", f"The checkpoint does not fit the architecture {architecture.name}: {problem}."
        )
    network.load_state_dict(tensors)
    placed: nn.Module = network.to(device=device, memory_format=torch.channels_last)  # type: ignore[call-overload] # not in its annotations
    return placed.eval().requires_grad_(requires_grad=False)


def read_classes(architecture: Architecture, tensors: Mapping[str, Tensor]) -> int:
    """Rows of the classifier: of the tensor that the network's own last weight is named after."""
    with WeightlessModules():
        names = [name for name, tensor in architecture.build(1000).state_dict().items() if tensor.ndim >= 2]
    classifier = tensors.get(names[-1])
    return 1000 if classifier is None or classifier.ndim < 2 else classifier.shape[0]


class WeightlessModules(TorchFunctionMode):
    """Modules built in this context have parameters without memory.

    They make them with torch.empty. Other tensors are real, since RegNets compute their shape with tensors.
    """

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Sequence[type],
        args: tuple[Any, ...] = (),
        kwargs: dict[str, Any] | None = None,
    ) -> Any:  # noqa: ANN401 # what any function of torch may return
        """Call `func`, torch.empty on the meta device."""
        kwargs = dict(kwargs or {})
        if func is torch.empty and kwargs.get("device") is None:
            kwargs["device"] = "meta"
        return func(*args, **kwargs)


def _mismatch(expected: Mapping[str, torch.Size], found: Mapping[str, torch.Size]) -> str | None:
    missing = [name for name in expected if name not in found]
    if missing:
        return f"it has no tensor '{missing[0]}'" + (f" ({len(missing)} are missing)" if len(missing) > 1 else "")
    unknown = [name for name in found if name not in expected]
    if unknown:
        return f"it has a tensor '{unknown[0]}' too many" + (f" ({len(unknown)} of them)" if len(unknown) > 1 else "")
    for name, shape in expected.items():
        if found[name] != shape:
            return f"tensor '{name}' has shape {tuple(found[name])}, not {tuple(shape)}"
    return None
