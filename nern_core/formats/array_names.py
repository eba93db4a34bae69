"""The names of a data set of arrays: `inputs`, or `inputs.NAME` for several, and perhaps `labels`. Torch-free."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Final

from nern_core.contract.errors import quoted

INPUTS: Final = "inputs"
LABELS: Final = "labels"
_MOST_SHOWN: Final = 6


def names_arrays(names: Iterable[str]) -> bool:
    """Return True if a file with these names is a data set of arrays."""
    return any(name == INPUTS or name.startswith(f"{INPUTS}.") for name in names)


def problem_of_names(names: Sequence[str]) -> str:
    """Return a predicate of a file whose arrays have other names than those of a data set, and how to rename them."""
    if not names:
        return "has no arrays"
    if any(name.endswith(".weight") for name in names):
        return f"has the weights of a network, such as {quoted(names[0])}, and no data set"
    shown = ", ".join(quoted(name) for name in names[:_MOST_SHOWN]) + (", …" if len(names) > _MOST_SHOWN else "")
    example = next((name for name in names if name not in {LABELS, "label"}), names[0])
    return (
        f"has the arrays {shown}, and none named `{INPUTS}`; rename the only argument to `{INPUTS}`, or each one as in "
        f"{quoted(f'{INPUTS}.{example}')}, and the classes to `{LABELS}`"
    )


def problem_of_arrays(shapes: Mapping[str, tuple[int, ...]]) -> str | None:
    """Return a predicate of the file that says what is wrong with arrays of these names and shapes; None if nothing."""
    arguments = [name for name in shapes if name != LABELS]
    for name in arguments:
        if name != INPUTS and not name.startswith(f"{INPUTS}."):
            return (
                f"has an array {quoted(name)}, which is no argument by its name; rename it to "
                f"{quoted(f'{INPUTS}.{name}')}, or leave it out"
            )
    if INPUTS in arguments and len(arguments) > 1:
        other = next(name for name in arguments if name != INPUTS)
        return f"has `inputs` and {quoted(other)}; name all arrays `inputs.NAME`"
    rows = {name: shape[0] if shape else 0 for name, shape in shapes.items()}
    first = rows[arguments[0]]
    for name, count in rows.items():
        if not count:
            what = "with 0 rows" if shapes[name] else "that is a single number"
            return f"has an array {quoted(name)} {what}; all need one row for each example"
        if count != first:
            return (
                f"has an array {quoted(name)} with {count:,} rows, and {quoted(arguments[0])} has {first:,}; all need "
                "one row for each example"
            )
    return None
