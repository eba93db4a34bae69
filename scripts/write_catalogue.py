"""Write `nern_core/contract/catalogue/architectures.json`: sizes and tensors of all architectures."""

import json
import math
from collections.abc import Mapping
from pathlib import Path

from torch import nn

from nern_core.contract.catalogue import ArchitectureEntry, NetworkStructure, Represented
from nern_core.contract.catalogue.networks import write_networks
from nern_core.contract.errors import NernError
from nern_core.contract.kernel_policy import ALL, SPATIAL, Shape, choose_tensors, kernel_shape_of
from nern_core.networks.registry import (
    WeightlessModules,
    catalogued_names,
    find_architecture,
    open_class_sizes,
    structure_of,
)

FILE = Path(__file__).parent.parent / "nern_core" / "contract" / "catalogue" / "architectures.json"
_CLASSES, _TORCHVISION_CLASSES = 10, 1000


def entry(name: str) -> ArchitectureEntry:
    """Count the parameters and represented tensors of one architecture."""
    found = find_architecture(name)
    classes = _TORCHVISION_CLASSES if name.startswith("torchvision:") else _CLASSES
    with WeightlessModules():
        network = found.build(classes)
    for auxiliary in found.auxiliary:
        setattr(network, auxiliary, None)
    shapes = _floating_shapes(network)
    return ArchitectureEntry(
        name=name,
        input_size=found.preprocessing.input_size,
        classes=classes,
        parameters=sum(parameter.numel() for parameter in network.parameters()),
        represented={word: counted for word in (SPATIAL, ALL) if (counted := _represented(shapes, word)) is not None},
    )


def structure(name: str) -> NetworkStructure:
    """List the tensors of one architecture; a size that depends on the number of classes is None."""
    found = find_architecture(name)
    with WeightlessModules():
        small, large = (structure_of(found.build(classes)) for classes in (_CLASSES, _CLASSES + 1))
    return NetworkStructure(name=name, auxiliary=found.auxiliary, shapes=open_class_sizes(small, large))


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
