"""Scale of each layer's predictions: about the size of its weights, stored as a small integer."""

from collections.abc import Sequence

from nern_core.container.step_grid import step_of


def layer_scales(scale: float, exponents: Sequence[int | None], layers: int) -> tuple[float, ...]:
    """Return the scale of each layer: `scale` times 2 ** (exponent / 8), or 0 without an exponent."""
    if not exponents:
        return (scale,) * layers
    return tuple(0.0 if exponent is None else scale * step_of(exponent) for exponent in exponents)
