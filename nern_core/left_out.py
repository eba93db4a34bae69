"""Find floating-point tensors of two or more axes that are kept exactly although they could be represented."""

from collections.abc import Collection, Mapping

from torch import Tensor

from nern_core.errors import quoted

_MOST_NAMED = 3


def left_out(tensors: Mapping[str, Tensor], represented: Collection[str]) -> dict[str, int]:
    """Return names and bytes of kept tensors that could be represented, the largest first, without constant tensors."""
    found = {
        name: tensor.nbytes
        for name, tensor in tensors.items()
        if name not in represented and tensor.is_floating_point() and tensor.itemsize > 1
        if tensor.ndim > 1 and tensor.numel() and not _is_constant(tensor)
    }
    return dict(sorted(found.items(), key=lambda item: -item[1]))


def describe_left_out(tensors: Mapping[str, int]) -> str:
    """Say which tensors are kept and how to represent them, with a leading space; empty if there are none."""
    if not tensors:
        return ""
    named = [f"{quoted(name)} ({size:,} bytes)" for name, size in list(tensors.items())[:_MOST_NAMED]]
    others = len(tensors) - len(named)
    listed = ", ".join(named) + (f" and {others} more" if others else "")
    first = next(iter(tensors))
    return (
        f" These tensors are kept exactly but could be represented: {listed}; "
        f"add patterns for their names to `kernels`, such as {quoted(first)}."
    )


def _is_constant(tensor: Tensor) -> bool:
    return bool((tensor == tensor.flatten()[0]).all())
