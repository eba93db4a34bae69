"""The names of tensors without what wrappers of networks add to them. Torch-free."""

from collections.abc import Collection
from typing import Final

# The counter that torch.optim.swa_utils.AveragedModel keeps beside its module.
AVERAGED_COUNTER: Final = "n_averaged"
# Each is removed from all names, so that their number has to be small.
_MOST_WRAPPERS = 8


def plain_names(names: Collection[str]) -> dict[str, str]:
    """Remove what wrappers add to names, for a network that is not known; returns plain names by names.

    `module.` is removed from the start of names, if all have it; `_orig_mod.` anywhere.
    """
    plain = {name: ".".join(part for part in name.split(".") if part != "_orig_mod") for name in names}
    for _ in range(_MOST_WRAPPERS):
        if not _all_start_with_module(plain.values()):
            break
        plain = {name: found.removeprefix("module.") for name, found in plain.items()}
    distinct = len(set(plain.values())) == len(plain) and all(plain.values())
    return plain if distinct else {name: name for name in names}


def _all_start_with_module(names: Collection[str]) -> bool:
    named = [name for name in names if name != AVERAGED_COUNTER]
    return bool(named) and all(name.startswith("module.") for name in named)
