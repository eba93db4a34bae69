"""Check that represented tensors are finite. Kept tensors may hold any value, such as the minus infinity of a mask."""

from collections.abc import Mapping, Sequence

from torch import Tensor

from nern_core.contract.errors import NernError, quoted
from nern_core.contract.kernel_policy import is_named
from nern_core.formats.kernel_layer import KernelLayer

# The smallest share of infinite values in a mask.
_FEWEST_INFINITE = 0.1


def refuse_non_finite(
    layers: Sequence[KernelLayer], tensors: Mapping[str, Tensor], kernels: Sequence[str]
) -> tuple[KernelLayer, ...]:
    """Return the layers without masks; masks are kept exactly unless a pattern of `kernels` names them.

    A mask has many infinite values, and its finite values are all equal. Raises `NernError` (`non_finite`) for any
    other layer with values that are not finite.
    """
    finite = []
    for layer in layers:
        tensor = tensors[layer.name]
        is_finite = tensor.isfinite()
        if is_finite.all():
            finite.append(layer)
        elif is_named(layer.name, kernels) or not _is_mask(tensor, is_finite):
            raise NernError(
                "non_finite",
                f"Tensor {quoted(layer.name)} has {int((~is_finite).sum()):,} NaN or infinite values; only finite "
                f"weights can be represented. Add {quoted('!' + layer.name)} to `kernels` to keep it unchanged.",
            )
    if not finite:
        raise NernError("no_kernels", "The checkpoint has no weights to represent, only masks.")
    return tuple(finite)


def _is_mask(tensor: Tensor, is_finite: Tensor) -> bool:
    values = tensor[is_finite]
    is_mostly_finite = values.numel() > (1 - _FEWEST_INFINITE) * tensor.numel()
    return (
        not is_mostly_finite and not tensor.isnan().any() and (not values.numel() or bool((values == values[0]).all()))
    )
