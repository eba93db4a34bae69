"""A note on the weights that no batch of the training has reached."""

from collections.abc import Iterator, Sequence
from typing import Final

from nern_core.contract.errors import quoted
from nern_core.formats.kernel_layer import KernelLayer
from nern_core.representations.quantized.quantizer import Quantized

_MOST_NAMED: Final = 3
# A few filters without gradients are usual: those behind an activation that is always zero.
_LEAST_SHARE: Final = 0.25


def describe_untaught(quantized: Quantized, layers: Sequence[KernelLayer]) -> tuple[str, ...]:
    """Return a sentence on the layers with a quarter of their filters or more unreached; empty without such layers."""
    named = list(_untaught(quantized, layers))
    if not named:
        return ()
    others = f" and {len(named) - _MOST_NAMED} more layers" if len(named) > _MOST_NAMED else ""
    sentence = (
        f"No batch of the training reached {', '.join(named[:_MOST_NAMED])}{others}; these weights were rounded "
        "without training. If they are needed, give inputs that use them, or more steps."
    )
    return (sentence,)


def _untaught(quantized: Quantized, layers: Sequence[KernelLayer]) -> Iterator[str]:
    for layer in layers:
        count = quantized.untaught.get(layer.name, 0)
        if count == layer.filters:
            yield quoted(layer.name)
        elif count >= _LEAST_SHARE * layer.filters:
            yield f"{count:,} of {layer.filters:,} filters of {quoted(layer.name)}"
