"""Find an architecture by its name and build the network of a checkpoint."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from nern_core.contract.catalogue import network_structure
from nern_core.contract.catalogue.networks import unknown_architecture
from nern_core.networks.architecture import Architecture
from nern_core.networks.built_in import BuiltInArchitectures
from nern_core.networks.provider import ArchitectureProvider
from nern_core.networks.torchvision_models import TorchvisionArchitectures
from nern_core.tensors.name_matching import match_names

_CPU = torch.device("cpu")
_PROVIDERS: tuple[ArchitectureProvider, ...] = (BuiltInArchitectures(), TorchvisionArchitectures())


def architecture_names() -> list[str]:
    """Return the names of all architectures, as the option `architecture` takes them."""
    return [_full_name(provider, name) for provider in _PROVIDERS for name in provider.names()]


def find_architecture(name: str) -> Architecture:
    """Look up an architecture. Raises `NernError` (`unknown_architecture`)."""
    prefix, separator, rest = name.partition(":")
    if not separator:
        prefix, rest = "", name
    found = next((provider.find(rest) for provider in _PROVIDERS if provider.prefix == prefix), None)
    if found is None:
        raise unknown_architecture(name)
    return found


def _full_name(provider: ArchitectureProvider, name: str) -> str:
    return f"{provider.prefix}:{name}" if provider.prefix else name


def build_network(architecture: Architecture, tensors: Mapping[str, Tensor], device: torch.device = _CPU) -> nn.Module:
    """Build the network with the weights of a checkpoint, in evaluation mode, frozen, channels last.

    Names changed by wrappers are recognized (see `name_matching`), and the number of classes is that of the
    checkpoint's classifier. Raises `NernError` (`ambiguous_checkpoint`, `architecture_mismatch`) if names or shapes do
    not fit.
    """
    shapes = {name: tuple(tensor.shape) for name, tensor in tensors.items()}
    match = match_names(shapes, network_structure(architecture.name))
    found = {match.names[name]: tensor for name, tensor in tensors.items() if name in match.names}
    network = architecture.build(match.classes)
    for name in architecture.auxiliary:
        if not any(tensor.startswith(f"{name}.") for tensor in found):
            setattr(network, name, None)
    # The network's own state brings its modules' versions, which MNASNets check, and the batch counters, which
    # checkpoints from before torch 0.4.1 lack and evaluation does not read.
    state = network.state_dict()
    state.update(found)
    network.load_state_dict(state)
    placed: nn.Module = network.to(device=device, memory_format=torch.channels_last)  # type: ignore[call-overload] # not in its annotations
    return placed.eval().requires_grad_(requires_grad=False)


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
