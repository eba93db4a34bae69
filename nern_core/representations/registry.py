"""Find a representation by its name."""

from importlib import import_module

from nern_core.contract.errors import NernError, quoted
from nern_core.contract.representations import representation_entries
from nern_core.representations.protocol import Representation


def find_representation(name: str) -> Representation:
    """Return the representation of this name. Raises `NernError` (`bad_encoding`) if there is none."""
    entry = representation_entries().get(name)
    if entry is None:
        raise NernError("bad_encoding", f"The .nern file has an unknown representation, {quoted(name)}; update nern.")
    module, _, attribute = entry.implementation.partition(":")
    representation: Representation = getattr(import_module(module), attribute)
    return representation
