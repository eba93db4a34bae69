"""Networks of the user's own code as values of --architecture."""

from nern_core.contract.catalogue.architectures import has_provider
from nern_core.contract.catalogue.networks import unknown_architecture


def own_architecture(name: str | None) -> str | None:
    """Import the user's own code that a flag names, if there is such a module and no provider knows the name.

    Return the name. Raises `NernError` (`broken_architecture`, `unknown_architecture`).
    """
    if name is None or has_provider(name):
        return name
    from nern_core.networks.own_code import import_architecture, is_own_code
    from nern_core.networks.registry import register_architecture

    found = import_architecture(name) if is_own_code(name) else None
    if found is None:
        raise unknown_architecture(name)
    register_architecture(found)
    return name
