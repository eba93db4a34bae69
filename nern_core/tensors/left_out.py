"""Find floating-point tensors of two or more axes that are kept exactly although they could be represented."""

from collections.abc import Collection, Mapping, Sequence

from torch import Tensor

from nern_core.contract.errors import quoted
from nern_core.contract.kernel_policy import ALL, exclusions_of, words_of

_MOST_NAMED = 3


def left_out(tensors: Mapping[str, Tensor], represented: Collection[str], kernels: Sequence[str]) -> dict[str, int]:
    """Return names and bytes of kept tensors that could be represented, the largest first.

    Constant tensors are left aside, and tensors that a pattern of `kernels` excludes.
    """
    excluded = exclusions_of(kernels)
    found = {
        name: tensor.nbytes
        for name, tensor in tensors.items()
        if name not in represented and tensor.is_floating_point() and tensor.itemsize > 1
        if tensor.ndim > 1 and tensor.numel() and not _is_constant(tensor) and not excluded.matches(name)
    }
    return dict(sorted(found.items(), key=lambda item: -item[1]))


def describe_left_out(tensors: Mapping[str, int], kernels: Sequence[str], hidden_size: int | None) -> str:
    """Say which tensors are kept and how to represent them, with a leading space; empty if `tensors` is."""
    if not tensors:
        return ""
    named = [f"{quoted(name)} ({size:,} bytes)" for name, size in list(tensors.items())[:_MOST_NAMED]]
    others = len(tensors) - len(named)
    listed = ", ".join(named) + (f" and {others} more" if others else "")
    advice = _advice(next(iter(tensors)), kernels, hidden_size)
    return f" These tensors are kept exactly but could be represented: {listed}; {advice}."


def _advice(first: str, kernels: Sequence[str], hidden_size: int | None) -> str:
    words = words_of(kernels, hidden_size)
    if ALL not in words and hidden_size == 0:
        return f"`{ALL}` for the option `kernels` represents them"
    # A pattern alone would represent nothing else. `all` leaves out what does not pay for its part of a predictor.
    before = f"`{min(words)}`" if words else "the others"
    return f"add patterns for their names to {before} in the option `kernels`, such as {quoted(first)}"


def _is_constant(tensor: Tensor) -> bool:
    return bool((tensor == tensor.flatten()[0]).all())
