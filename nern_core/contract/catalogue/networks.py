"""Names and shapes of all tensors of each architecture, to compare checkpoints with them without torch.

`scripts/write_catalogue.py` writes them to `networks.jsonl.xz`, one network per line.
"""

import difflib
import lzma
import re
from collections.abc import Iterable, Mapping
from functools import cache
from pathlib import Path

from pydantic import BaseModel, ConfigDict

from nern_core.contract.catalogue.architectures import ARCHITECTURE_NAMES, LIBRARIES, architectures
from nern_core.contract.errors import NernError, quoted

FILE = Path(__file__).with_name("networks.jsonl.xz")
_TORCHVISION = "torchvision:"
# A path to code without a name in it.
_OF_FILE = re.compile(r"[^:]+\.py")
# Longer texts are not compared with the names, because that takes long.
_LONGEST_COMPARED = 64
Shape = tuple[int, ...]


class NetworkStructure(BaseModel):
    """The tensors of a network by name, in the network's order.

    A size of None is the number of classes, times the `multiples` of the tensor, if there are any: a detection network
    has a logit of every class for each of its anchors. `auxiliary` names modules that only training uses: a checkpoint
    may lack all tensors of such a module.
    """

    model_config = ConfigDict(frozen=True)

    name: str
    auxiliary: tuple[str, ...] = ()
    shapes: dict[str, tuple[int | None, ...]]
    multiples: dict[str, int] = {}

    @property
    def classifier(self) -> str:
        """Return the name of the last matrix whose rows are classes, or of the last matrix."""
        matrices = [name for name, shape in self.shapes.items() if len(shape) >= 2]
        main = [name for name in matrices if name.partition(".")[0] not in self.auxiliary]
        return ([name for name in main if self.shapes[name][0] is None] or main)[-1]

    def classes_of(self, rows: int) -> int:
        """Return the number of classes if the classifier has this many rows."""
        return rows // self.multiples.get(self.classifier, 1)

    def with_classes(self, classes: int) -> dict[str, Shape]:
        """Return the shapes with the number of classes filled in."""
        return {
            name: tuple(classes * self.multiples.get(name, 1) if size is None else size for size in shape)
            for name, shape in self.shapes.items()
        }


@cache
def network_structure(architecture: str) -> NetworkStructure:
    """Return the tensors of an architecture. Raises `NernError` (`unknown_architecture`)."""
    line = _lines().get(architecture)
    if line is None:
        raise unknown_architecture(architecture)
    return NetworkStructure.model_validate_json(line)


def unknown_architecture(name: str, known: Iterable[str] = ()) -> NernError:
    """Make the error for an unknown architecture name; `known` are names that the catalogue does not list."""
    if _OF_FILE.fullmatch(name):
        return NernError(
            "unknown_architecture", f"{quoted(name)} is a file; add the name of a class or function in it: {name}:NAME."
        )
    meant = closest_architecture(name, known)
    if name.startswith(_TORCHVISION):
        sentence = f"torchvision has no network {quoted(name.removeprefix(_TORCHVISION))}"
        names = "names are for example resnet18 or mobilenet_v3_small."
    else:
        sentence, names = f"There is no architecture {quoted(name)}", f"use {ARCHITECTURE_NAMES}."
    return NernError("unknown_architecture", f"{sentence}; {f'did you mean {meant}?' if meant else names}")


def closest_architecture(name: str, others: Iterable[str] = ()) -> str | None:
    """Return the known name that an unknown one resembles: the same behind a prefix, or a similar one.

    A name with the prefix of a library or package resembles only names with this prefix.
    """
    if len(name) > _LONGEST_COMPARED:
        return None
    names = [*(entry.name for entry in architectures()), *others]
    prefix, separator, _ = name.lower().partition(":")
    if separator and (prefix in LIBRARIES or any(of.startswith(f"{prefix}:") for of in names)):
        names = [of for of in names if of.startswith(f"{prefix}:")]
    known = {of.rpartition(":")[2]: of for of in names}
    wanted = name.lower().rpartition(":")[2]
    for prefix in ("", "cifar-"):
        if prefix + wanted in known:
            return known[prefix + wanted]
    found = difflib.get_close_matches(wanted, known, n=1, cutoff=0.75)
    return known[found[0]] if found else None


def write_networks(networks: Mapping[str, NetworkStructure]) -> None:
    """Replace the catalogue file."""
    lines = [f"{name}\t{network.model_dump_json()}\n" for name, network in networks.items()]
    FILE.write_bytes(lzma.compress("".join(lines).encode(), preset=9 | lzma.PRESET_EXTREME))


def _lines() -> dict[str, str]:
    text = lzma.decompress(FILE.read_bytes()).decode()
    return {name: line for name, _, line in (entry.partition("\t") for entry in text.splitlines())}
