"""Build the network of a folder from its configuration and its tensors."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Final

import torch
from torch import Tensor, nn
from torch.nn.modules.module import (
    register_module_buffer_registration_hook,
    register_module_module_registration_hook,
    register_module_parameter_registration_hook,
)

from nern_core.contract.errors import NernError, quoted
from nern_core.contract.plural import plural
from nern_core.contract.system_errors import is_out_of_memory
from nern_core.networks.registry import placed
from nern_core.networks.shared_tensors import shared_names
from nern_core.networks.transformers_models.configuration import bad_config, make_configuration, network_class
from nern_core.networks.transformers_models.library import offline_library
from nern_core.networks.transformers_models.names import PREFIX

# Parameters and modules for each tensor of the checkpoint, and values for each of its values; it has shared ones once.
_MOST_FOR_EACH_TENSOR: Final = 8
_MOST_FOR_EACH_VALUE: Final = 4
_ALWAYS_ALLOWED: Final = 1000
_VALUES_ALWAYS_ALLOWED: Final = 2**24
# Masks and positions that networks compute.
_LARGEST_BUFFERS: Final = 2**30


@dataclass(frozen=True, slots=True)
class HubNetwork:
    """A network with its weights, in evaluation mode; `names` maps the checkpoint's names to the network's own.

    `notes` are sentences on tensors that the network does not have.
    """

    network: nn.Module
    names: Mapping[str, str]
    notes: tuple[str, ...]


def build_hub_network(architecture: str, config: Mapping[str, Any] | None, tensors: Mapping[str, Tensor]) -> HubNetwork:
    """Build the network `transformers:CLASS` or `transformers:auto`, and load the tensors into it.

    Tensors that the network shares may be given under one of their names, and old names are translated as transformers
    does. Raises `NernError` (`no_config`, `bad_config`, `unknown_architecture`, `architecture_mismatch`,
    `missing_extra`).
    """
    if config is None:
        raise NernError(
            "no_config",
            f"The architecture {architecture} needs a folder with the config.json of the network; give that folder.",
        )
    with offline_library() as transformers:
        from transformers.initialization import no_init_weights

        found = network_class(transformers, architecture.removeprefix(f"{PREFIX}:"), config)
        made = make_configuration(found, config)
        empty = _empty(found, made, tensors)
        names = _names(empty, tensors)
        _refuse_mismatch(empty, tensors, names)
        with no_init_weights():
            network = _made(found, made)
        if _agree(empty, tensors, names):
            with _faults_of_config():
                network.tie_weights()  # type: ignore[operator] # a method of transformers' networks
    state = network.state_dict()
    state.update({new: tensors[name] for name, new in names.items()})
    network.load_state_dict(_with_shared(network, state, set(names.values())))
    return HubNetwork(placed(network), names, tuple(_notes(tensors, names)))


def _empty(found: type[Any], made: Any, tensors: Mapping[str, Tensor]) -> nn.Module:  # noqa: ANN401 # see `make_configuration`
    """Build the network without memory, and not one much larger than the checkpoint. Raises `NernError`."""
    most = _MOST_FOR_EACH_TENSOR * len(tensors) + _ALWAYS_ALLOWED
    values = _MOST_FOR_EACH_VALUE * sum(tensor.numel() for tensor in tensors.values()) + _VALUES_ALWAYS_ALLOWED
    with _limited(most, values), torch.device("meta"):
        return _made(found, made)


def _made(found: type[Any], made: Any) -> nn.Module:  # noqa: ANN401 # see `make_configuration`
    with _faults_of_config():
        network: nn.Module = found._from_config(made, dtype=torch.float32)  # noqa: SLF001 # as `AutoModel.from_config` does
    return network


@contextmanager
def _faults_of_config() -> Iterator[None]:
    """Raise `NernError` (`bad_config`) for what transformers raises, except for lack of memory."""
    try:
        yield
    except NernError:
        raise
    except Exception as error:  # the configuration is a stranger's
        if is_out_of_memory(error):
            raise
        raise bad_config(error) from error


@contextmanager
def _limited(most: int, most_values: int) -> Iterator[None]:
    """Raise `NernError` (`bad_config`) once modules get too many parts or values, or buffers above a gibibyte."""
    parts = values = buffers = 0

    def count(module: nn.Module, name: str, part: object) -> None:
        nonlocal parts, values, buffers
        parts += 1
        if isinstance(part, nn.Parameter):
            values += part.numel()
        elif isinstance(part, Tensor):
            buffers += part.nbytes
        if parts > most or values > most_values or buffers > _LARGEST_BUFFERS:
            raise NernError(
                "bad_config",
                "The config.json describes a much larger network than the checkpoint holds; use its own one.",
            )

    registrations = (
        register_module_parameter_registration_hook,
        register_module_module_registration_hook,
        register_module_buffer_registration_hook,
    )
    hooks = [register(count) for register in registrations]
    try:
        yield
    finally:
        for hook in hooks:
            hook.remove()


def _names(empty: nn.Module, tensors: Mapping[str, Tensor]) -> dict[str, str]:
    """Translate the checkpoint's names into those of the network, as transformers does; other tensors are left out.

    Raises `NernError` (`bad_config`).
    """
    from transformers.conversion_mapping import get_model_conversion_mapping
    from transformers.core_model_loading import WeightRenaming, rename_source_key

    expected = empty.state_dict()
    names: dict[str, str] = {}
    with _faults_of_config():
        steps = [step for step in get_model_conversion_mapping(empty) if isinstance(step, WeightRenaming)]
        for name in tensors:
            new = name if name in expected else rename_source_key(name, steps, [], empty.base_model_prefix, expected)[0]
            if new in expected and new not in names.values():
                names[name] = new
    return names


def _refuse_mismatch(empty: nn.Module, tensors: Mapping[str, Tensor], names: Mapping[str, str]) -> None:
    """Raise `NernError` (`architecture_mismatch`) unless the checkpoint has all tensors in their shapes."""
    given = set(names.values())
    shared = shared_names(empty)
    known = given | {name for name, others in shared.items() if not given.isdisjoint(others)}
    expected = empty.state_dict()
    missing = [name for name in expected if name not in known]
    what = type(empty).__name__
    if missing:
        others = f" ({len(missing)} are missing)" if missing[1:] else ""
        raise NernError(
            "architecture_mismatch",
            f"The checkpoint does not fit {what} as its config.json describes it: it has no tensor "
            f"{quoted(missing[0])}{others}.",
        )
    for name, new in names.items():
        if tensors[name].shape != expected[new].shape:
            raise NernError(
                "architecture_mismatch",
                f"The checkpoint does not fit {what} as its config.json describes it: tensor {quoted(name)} has shape "
                f"{tuple(tensors[name].shape)}, not {tuple(expected[new].shape)}.",
            )


def _agree(empty: nn.Module, tensors: Mapping[str, Tensor], names: Mapping[str, str]) -> bool:
    """Return False if the checkpoint has different values for the names of a shared tensor: it was not shared then."""
    given = {new: name for name, new in names.items()}
    return all(
        torch.equal(tensors[given[name]], tensors[given[other]])
        for name, others in shared_names(empty).items()
        for other in others
        if name in given and other in given
    )


def _with_shared(network: nn.Module, state: dict[str, Any], given: set[str]) -> dict[str, Any]:
    """Give each name of a shared tensor the values of the one that the checkpoint has."""
    for name, others in shared_names(network).items():
        if name not in given and (source := next((other for other in others if other in given), None)):
            state[name] = state[source]
    return state


def _notes(tensors: Mapping[str, Tensor], names: Mapping[str, str]) -> Iterator[str]:
    others = [name for name in tensors if name not in names]
    if others:
        kept = plural(
            len(others), "tensor that the network does not have is", "tensors that the network does not have are"
        )
        yield f"{len(others)} {kept} kept, such as {quoted(others[0])}."
