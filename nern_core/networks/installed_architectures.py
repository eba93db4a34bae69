"""Architectures of installed packages: entry points of the group `nern.architectures`."""

from collections.abc import Sequence

from nern_core.contract.catalogue.architectures import installed_architectures
from nern_core.contract.errors import NernError, quoted
from nern_core.networks.architecture import Architecture
from nern_core.networks.own_code import architecture_from


def installed_names() -> Sequence[str]:
    """Return the names of all architectures of installed packages."""
    return list(installed_architectures())


def find_installed(name: str) -> Architecture | None:
    """Load the architecture of this name; None if no installed package has it.

    Raises `NernError` (`broken_architecture`) if its package cannot be imported.
    """
    point = installed_architectures().get(name)
    if point is None:
        return None
    try:
        target = point.load()
    except Exception as error:  # code of a package may raise anything
        raise NernError(
            "broken_architecture",
            f"The architecture {quoted(name)} cannot be imported from {point.value}: {type(error).__name__}: {error}.",
        ) from error
    return architecture_from(name, target)
