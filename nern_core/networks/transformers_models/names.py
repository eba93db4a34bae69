"""The names of networks of transformers: `transformers:auto`, or the name of a class."""

from typing import Final

from nern_core.contract.errors import NernError
from nern_core.networks.architecture import Architecture

PREFIX: Final = "transformers"


class TransformersArchitectures:
    """The provider of networks of transformers, which only a folder with its configuration describes."""

    prefix = PREFIX

    def names(self) -> list[str]:
        """Return no names: there are as many networks as configurations."""
        return []

    def find(self, name: str) -> Architecture | None:
        """Raise `NernError` (`no_config`), because a name alone describes no network."""
        raise NernError(
            "no_config",
            f"{PREFIX}:{name} is described by the config.json in a checkpoint's folder, and not by its name alone; "
            "it can be encoded, evaluated and compared, but cannot be a stronger teacher.",
        )


def is_transformers(architecture: str | None) -> bool:
    """Return True for a name with the prefix of transformers."""
    return architecture is not None and architecture.startswith(f"{PREFIX}:")
