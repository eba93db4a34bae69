"""Match the names of a checkpoint with those of a network. Torch-free.

Training scripts wrap networks, and each wrapper adds to the names: `module.` (data-parallel training, averaged
weights), `_orig_mod.` (torch.compile), `model.` (Lightning). Old releases of torchvision named the layers of DenseNets
differently. These changes are undone if the names then fit.
"""

import re
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from typing import Final

from nern_core.contract.catalogue.networks import NetworkStructure, Shape
from nern_core.contract.errors import NernError, quoted
from nern_core.contract.plural import plural
from nern_core.formats.plain_names import AVERAGED_COUNTER

_WRAPPERS: Final = ("module", "_orig_mod")
EXTRA_STATE: Final = "_extra_state"
_COUNTER_OF_BATCH_NORM = ".num_batches_tracked"
# The same renaming as in torchvision's own loader of its published DenseNets.
_OLD_DENSE_LAYER = re.compile(
    r"(.*denselayer\d+\.(?:norm|relu|conv))\.([12]\.(?:weight|bias|running_mean|running_var))"
)
# Each prefix is compared with all names, so their number must be small.
_MOST_PREFIXES = 8
_DEFAULT_CLASSES = 1000


@dataclass(frozen=True, slots=True)
class NameMatch:
    """The match between the tensors of a checkpoint and those of a network.

    `names` maps the checkpoint's names to the network's; it leaves out tensors that the network does not have.
    `changes` are sentences about the changes to names.
    """

    names: Mapping[str, str]
    classes: int
    changes: tuple[str, ...]


def match_names(shapes: Mapping[str, Shape], network: NetworkStructure) -> NameMatch:
    """Match tensors, by name and shape, with those of a network.

    Raises `NernError` (`architecture_mismatch`) if a tensor is missing, has another shape or is not in the network, and
    (`ambiguous_checkpoint`) if several networks in the checkpoint fit.
    """
    unwrapped = {name: _without_wrappers(name) for name in shapes}
    prefixes = _prefixes(unwrapped.values(), network)
    attempts = {prefix: _strip(unwrapped, prefix) for prefix in prefixes}
    problems = {prefix: _problem(shapes, attempts[prefix], network) for prefix in prefixes}
    fitting = [prefix for prefix in prefixes if problems[prefix] is None]
    if not fitting:
        closest = max(prefixes, key=lambda prefix: len(network.shapes.keys() & set(attempts[prefix].values())))
        raise NernError(
            "architecture_mismatch",
            f"The checkpoint does not fit the architecture {network.name}: {problems[closest]}.",
        )
    names = {name: found for name, found in attempts[fitting[0]].items() if found in network.shapes}
    if len(fitting) > 1 or any(name in network.shapes for name in shapes if name not in names):
        raise _ambiguous(fitting, network)
    beside = [name for name in shapes if name not in names and not _is_no_weight(unwrapped[name])]
    if beside:
        raise _not_alone(beside[0], names, network)
    return NameMatch(names, _classes(shapes, names, network), tuple(_changes(shapes, names)))


def plain_names(names: Collection[str]) -> Iterator[dict[str, str]]:
    """Yield the names of a network by its own names: without wrappers, then without each prefix that all of them have.

    The counter of averaged weights is left out, because checkpoints of the network itself lack it.
    """
    own = [name for name in names if name != AVERAGED_COUNTER]
    plain = {name: _without_wrappers(name) for name in own}
    if len(set(plain.values())) < len(plain):
        plain = {name: name for name in own}
    yield plain
    while len({name.partition(".")[0] for name in plain.values()}) == 1 and all("." in new for new in plain.values()):
        plain = {name: new.partition(".")[2] for name, new in plain.items()}
        yield plain


def _without_wrappers(name: str) -> str:
    """Remove wrappers from a name. No network of the catalogue has modules with the wrappers' names."""
    return ".".join(part for part in name.split(".") if part not in _WRAPPERS)


def _prefixes(names: Collection[str], network: NetworkStructure) -> list[str]:
    """Find candidate prefixes of the network's names: the empty one, and those in front of a few of its tensors."""
    expected = [name for name in network.shapes if not name.endswith(_COUNTER_OF_BATCH_NORM)]
    found = {""}
    for anchor in {expected[0], expected[len(expected) // 2], network.classifier}:
        ending = f".{anchor}"
        found |= {name.removesuffix(anchor) for name in names if name.endswith(ending)}
    return sorted(found, key=lambda prefix: (len(prefix), prefix))[:_MOST_PREFIXES]


def _strip(unwrapped: Mapping[str, str], prefix: str) -> dict[str, str]:
    """Remove the prefix from the names that have it; return the new names by the checkpoint's names."""
    return {name: _renamed(plain.removeprefix(prefix)) for name, plain in unwrapped.items() if plain.startswith(prefix)}


def _renamed(name: str) -> str:
    """Join the last two parts of the old name of a layer, such as `norm.1`."""
    old = _OLD_DENSE_LAYER.fullmatch(name) if "denselayer" in name else None
    return name if old is None else old[1] + old[2]


def _problem(shapes: Mapping[str, Shape], names: Mapping[str, str], network: NetworkStructure) -> str | None:
    """Explain why the tensors do not fit the network, as the end of a sentence; None if they fit."""
    found = {new: shapes[name] for name, new in names.items()}
    if len(found) != len(names):
        return "two of its tensors have the same name"
    expected = network.with_classes(_classes(shapes, names, network))
    unused = [part for part in network.auxiliary if not any(name.startswith(f"{part}.") for name in found)]
    expected = {name: shape for name, shape in expected.items() if name.partition(".")[0] not in unused}
    missing = [name for name in expected if name not in found and not name.endswith(_COUNTER_OF_BATCH_NORM)]
    if missing:
        return f"it has no tensor {quoted(missing[0])}" + (f" ({len(missing)} are missing)" if missing[1:] else "")
    unknown = [name for name in found if name not in expected and not _is_no_weight(name)]
    if unknown:
        return f"it has an extra tensor {quoted(unknown[0])}" + (f" ({len(unknown)} of them)" if unknown[1:] else "")
    for name, shape in expected.items():
        if name in found and found[name] != shape:
            return f"tensor {quoted(name)} has shape {found[name]}, not {shape}"
    return None


def _ambiguous(prefixes: list[str], network: NetworkStructure) -> NernError:
    keys = [prefix.removesuffix(".") for prefix in prefixes if prefix]
    return NernError(
        "ambiguous_checkpoint",
        f"The checkpoint holds several networks that fit {network.name}, under {', '.join(map(quoted, keys))}; "
        f"choose one with the option `key`, such as {quoted(keys[0])}.",
    )


def _not_alone(other: str, names: Mapping[str, str], network: NetworkStructure) -> NernError:
    """Explain how to leave out tensors that are not part of the network, such as the weights of a loss."""
    key = next((name.removesuffix(f".{new}") for name, new in names.items() if name.endswith(f".{new}")), None)
    how_to = "" if key is None else f"; choose the network with the option `key`, such as {quoted(key)}"
    return NernError(
        "architecture_mismatch",
        f"The checkpoint does not fit the architecture {network.name}: it also has a tensor {quoted(other)}{how_to}.",
    )


def _is_no_weight(name: str) -> bool:
    return name == AVERAGED_COUNTER or name.rpartition(".")[2] == EXTRA_STATE


def _classes(shapes: Mapping[str, Shape], names: Mapping[str, str], network: NetworkStructure) -> int:
    """Return the number of classes, from the rows of the classifier."""
    name = next((name for name, found in names.items() if found == network.classifier), None)
    shape = () if name is None else shapes[name]
    return network.classes_of(shape[0]) if len(shape) >= 2 else _DEFAULT_CLASSES


def _changes(shapes: Mapping[str, Shape], names: Mapping[str, str]) -> list[str]:
    """Describe the changes that make the names fit."""
    changes = []
    if changed := [(name, new) for name, new in names.items() if name != new]:
        name, new = changed[0]
        which = "All names" if len(changed) == len(names) else f"{len(changed)} of {len(names)} names"
        changes.append(f"{which} were changed to the network's, such as {quoted(name)} to {quoted(new)}.")
    others = [name for name in shapes if name not in names]
    if others:
        kept = plural(
            len(others), "tensor that the network does not have is", "tensors that the network does not have are"
        )
        changes.append(f"{len(others)} {kept} kept, such as {quoted(others[0])}.")
    return changes
