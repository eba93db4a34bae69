"""Find an architecture by its name and build the network of a checkpoint."""

import copy
from collections.abc import Callable, Mapping, Sequence
from functools import cache
from typing import Any

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from nern_core.contract.catalogue import NetworkStructure, network_structure
from nern_core.contract.catalogue.architectures import is_catalogued
from nern_core.contract.catalogue.networks import unknown_architecture
from nern_core.contract.errors import NernError, quoted
from nern_core.networks.architecture import Architecture
from nern_core.networks.built_in import BuiltInArchitectures
from nern_core.networks.installed_architectures import find_installed
from nern_core.networks.provider import ArchitectureProvider
from nern_core.networks.shared_tensors import shared_names, with_shared
from nern_core.networks.timm_models import TimmArchitectures
from nern_core.networks.torchvision_models import TorchvisionArchitectures
from nern_core.networks.transformers_models.names import TransformersArchitectures
from nern_core.tensors.name_matching import match_names, plain_names

_CPU = torch.device("cpu")
# Of the weights of two-dimensional convolutions.
_AXES_OF_IMAGES = 4
_SOME_CLASSES = 10
_CATALOGUED: tuple[ArchitectureProvider, ...] = (BuiltInArchitectures(), TorchvisionArchitectures())
_PROVIDERS: tuple[ArchitectureProvider, ...] = (*_CATALOGUED, TimmArchitectures(), TransformersArchitectures())
# Architectures of the user's own code, which a command imported.
_registered: dict[str, Architecture] = {}


def catalogued_names() -> list[str]:
    """Return the names of all architectures that the catalogue lists."""
    return [_full_name(provider, name) for provider in _CATALOGUED for name in provider.names()]


def register_architecture(architecture: Architecture) -> None:
    """Let this process find an architecture by its name. Names of providers and installed packages come first."""
    _registered[architecture.name] = architecture


def find_architecture(name: str) -> Architecture:
    """Look up an architecture.

    Raises `NernError`: `unknown_architecture`; `missing_extra` or `broken_architecture` if it cannot be imported.
    """
    prefix, separator, rest = name.partition(":")
    if not separator:
        prefix, rest = "", name
    provider = next((of for of in _PROVIDERS if of.prefix == prefix), None)
    found = None if provider is None else provider.find(rest)
    found = found or find_installed(name) or _registered.get(name)
    if found is None and separator and provider is None:
        raise NernError(
            "unknown_architecture",
            f"No installed package has the architecture {quoted(name)}, and code of yours is imported only if you name "
            "it with `architecture`.",
        )
    if found is None:
        raise unknown_architecture(
            name, [] if provider is None else [_full_name(provider, of) for of in provider.names()]
        )
    return found


@cache
def structure_of_architecture(name: str) -> NetworkStructure:
    """Return the tensors of an architecture. Raises `NernError` as `find_architecture` does."""
    if is_catalogued(name):
        return network_structure(name)
    architecture = find_architecture(name)
    if not architecture.takes_classes:
        return structure_of(architecture.build(_SOME_CLASSES)).model_copy(update={"name": name})
    return structure_of_any_classes(architecture)


def structure_of_any_classes(architecture: Architecture) -> NetworkStructure:
    """Return the names and shapes of the tensors of a network; sizes that depend on the number of classes are open."""
    network = structure_of(architecture.build(_SOME_CLASSES)).shapes
    larger = structure_of(architecture.build(_SOME_CLASSES + 1)).shapes
    shapes: dict[str, tuple[int | None, ...]] = {}
    multiples: dict[str, int] = {}
    for name, shape in network.items():
        added = [(other or 0) - (size or 0) for size, other in zip(shape, larger[name], strict=True)]
        shapes[name] = tuple(None if more else size for size, more in zip(shape, added, strict=True))
        if max(added, default=0) > 1:
            multiples[name] = max(added)
    return NetworkStructure(
        name=architecture.name, auxiliary=architecture.auxiliary, shapes=shapes, multiples=multiples
    )


def _full_name(provider: ArchitectureProvider, name: str) -> str:
    return f"{provider.prefix}:{name}" if provider.prefix else name


def build_network(architecture: Architecture, tensors: Mapping[str, Tensor], device: torch.device = _CPU) -> nn.Module:
    """Build the network with the weights of a checkpoint, in evaluation mode, frozen, channels last.

    Names changed by wrappers are recognized (see `name_matching`), and the number of classes is that of the
    checkpoint's classifier. Raises `NernError` (`ambiguous_checkpoint`, `architecture_mismatch`) if names or shapes do
    not fit.
    """
    shapes = {name: tuple(tensor.shape) for name, tensor in tensors.items()}
    match = match_names(shapes, structure_of_architecture(architecture.name))
    found = {match.names[name]: tensor for name, tensor in tensors.items() if name in match.names}
    network = architecture.build(match.classes)
    for name in architecture.auxiliary:
        if not any(tensor.startswith(f"{name}.") for tensor in found):
            setattr(network, name, None)
    _load_found(network, found)
    return placed(network, device)


def placed(network: nn.Module, device: torch.device = _CPU) -> nn.Module:
    """Prepare a network for inference: on the device, in evaluation mode, frozen, channels last if it has images."""
    has_images = any(tensor.ndim == _AXES_OF_IMAGES for tensor in network.parameters())
    has_volumes = any(tensor.ndim > _AXES_OF_IMAGES for tensor in network.parameters())
    # Weights of more axes have no such format.
    format_ = torch.channels_last if has_images and not has_volumes else torch.preserve_format
    moved: nn.Module = network.to(device=device, memory_format=format_)  # type: ignore[call-overload] # not in its annotations
    return moved.eval().requires_grad_(requires_grad=False)


def copy_network(network: nn.Module, device: torch.device = _CPU) -> nn.Module:
    """Return a copy that shares nothing with the network, prepared for inference as `placed` does."""
    return placed(copy.deepcopy(network), device)


def load_weights(network: nn.Module, tensors: Mapping[str, Tensor]) -> None:
    """Load a checkpoint's tensors into a network. Names changed by wrappers of either are recognized.

    Tensors that the network shares may be given under one of their names.

    Raises `NernError` (`ambiguous_checkpoint`, `architecture_mismatch`) if names or shapes do not fit.
    """
    own = structure_of(network)
    problem: NernError | None = None
    for plain in plain_names(own.shapes):
        shared = {plain[name]: tuple(plain[other] for other in of) for name, of in shared_names(network).items()}
        given = with_shared(tensors, shared)
        structure = own.model_copy(update={"shapes": {plain[name]: own.shapes[name] for name in plain}})
        try:
            match = match_names({name: tuple(tensor.shape) for name, tensor in given.items()}, structure)
        except NernError as error:
            problem = problem or error
            continue
        names = {new: name for name, new in plain.items()}
        _load_found(network, {names[match.names[n]]: tensor for n, tensor in given.items() if n in match.names})
        return
    assert problem is not None
    raise problem


def structure_of(network: nn.Module) -> NetworkStructure:
    """Return the names and shapes of a network's tensors."""
    state = {name: value for name, value in network.state_dict().items() if isinstance(value, Tensor)}
    return NetworkStructure(
        name=type(network).__name__, shapes={name: tuple(tensor.shape) for name, tensor in state.items()}
    )


def _load_found(network: nn.Module, found: Mapping[str, Tensor]) -> None:
    # The network's own state brings its modules' versions, which MNASNets check, and the batch counters, which
    # checkpoints from before torch 0.4.1 lack and evaluation does not read.
    state = network.state_dict()
    state.update(found)
    network.load_state_dict(state)


class WeightlessModules(TorchFunctionMode):
    """A context in which new modules get parameters without memory.

    Modules create parameters with torch.empty. Other tensors are real, because RegNets compute their shape with
    tensors.
    """

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Sequence[type],
        args: tuple[Any, ...] = (),
        kwargs: dict[str, Any] | None = None,
    ) -> Any:  # noqa: ANN401 # what any function of torch may return
        """Call `func`; torch.empty goes to the meta device."""
        kwargs = dict(kwargs or {})
        if func is torch.empty and kwargs.get("device") is None:
            kwargs["device"] = "meta"
        return func(*args, **kwargs)
