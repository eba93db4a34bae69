"""Tensor names without the additions of network wrappers. Torch-free."""

from collections.abc import Collection
from typing import Final

# The counter that torch.optim.swa_utils.AveragedModel stores beside its module.
AVERAGED_COUNTER: Final = "n_averaged"
# Each wrapper is removed from all names, so their number must be small.
_MOST_WRAPPERS = 8


def plain_names(names: Collection[str]) -> dict[str, str]:
    """Remove wrappers from names, for an unknown network; return plain names by names.

    `module.` is removed from the start of names if all names have it; `_orig_mod.` is removed anywhere.
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
