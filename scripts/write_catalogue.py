"""Write `nern_core/contract/catalogue/architectures.json`: sizes and tensors of all architectures."""

import json
import math
from collections.abc import Mapping
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Final

from torch import nn

from nern_core.contract.catalogue import ArchitectureEntry, NetworkStructure, Represented
from nern_core.contract.catalogue.networks import write_networks
from nern_core.contract.errors import NernError
from nern_core.contract.kernel_policy import ALL, SPATIAL, Shape, choose_tensors, kernel_shape_of
from nern_core.networks.architecture import Architecture
from nern_core.networks.registry import (
    WeightlessModules,
    catalogued_names,
    find_architecture,
    structure_of_any_classes,
)
from nern_core.networks.torchvision_models import import_models

FILE = Path(__file__).parent.parent / "nern_core" / "contract" / "catalogue" / "architectures.json"
_CLASSES: Final = 10
_TORCHVISION: Final = "torchvision:"


def entry(name: str) -> ArchitectureEntry:
    """Count the parameters and represented tensors of one architecture."""
    found = find_architecture(name)
    classes = _published_classes(name)
    with _cheaply(found):
        network = found.build(classes or _CLASSES)
    for auxiliary in found.auxiliary:
        setattr(network, auxiliary, None)
    shapes = _floating_shapes(network)
    return ArchitectureEntry(
        name=name,
        input_size=found.preprocessing.input_size or None,
        classes=classes,
        parameters=sum(parameter.numel() for parameter in network.parameters()),
        represented={word: counted for word in (SPATIAL, ALL) if (counted := _represented(shapes, word)) is not None},
    )


def _published_classes(name: str) -> int | None:
    """Return the number of classes of the published weights; None for optical flow, which has none."""
    if not name.startswith(_TORCHVISION):
        return _CLASSES
    weights = next(iter(import_models().get_model_weights(name.removeprefix(_TORCHVISION))))
    return len(weights.meta["categories"]) if "categories" in weights.meta else None


def structure(name: str) -> NetworkStructure:
    """List the tensors of one architecture; a size that depends on the number of classes is None."""
    found = find_architecture(name)
    with _cheaply(found):
        return structure_of_any_classes(found)


def _cheaply(architecture: Architecture) -> AbstractContextManager[object]:
    """Return a context for building a network; some that are no classifiers are run while they are built."""
    return WeightlessModules() if architecture.is_classifier else nullcontext()


def _floating_shapes(network: nn.Module) -> dict[str, Shape]:
    return {name: tuple(t.shape) for name, t in network.state_dict().items() if t.is_floating_point()}


def _represented(shapes: Mapping[str, Shape], word: str) -> Represented | None:
    try:
        chosen = choose_tensors(shapes, [word], None)
    except NernError:
        return None
    kernels = {kernel_shape_of(shapes[name]) for name in chosen}
    return Represented(
        tensors=len(chosen),
        weights=sum(math.prod(shapes[name]) for name in chosen),
        kernel_shapes=tuple(sorted(kernels)),
    )


def _written(entries: list[ArchitectureEntry]) -> str:
    lines = [json.dumps(found.model_dump(mode="json")) for found in entries]
    return "[\n" + ",\n".join(lines) + "\n]\n"


if __name__ == "__main__":
    FILE.write_text(_written([entry(name) for name in catalogued_names()]))
    write_networks({name: structure(name) for name in catalogued_names()})
