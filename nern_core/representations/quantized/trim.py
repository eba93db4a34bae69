"""Save the last bits: integers whose real numbers are closest to a smaller integer become that integer."""

from collections.abc import Sequence

import torch
from torch import Tensor

from nern_core.representations.quantized.rate import RateModel

# If zero is rarer than one, moving to zero saves nothing immediately.
_SMALLEST_SAVING = 1e-6


def trimmed(latents: Sequence[Tensor], integers: Sequence[Tensor], bits: float) -> list[Tensor]:
    """Move integers (F, C, P) of each layer one towards zero until that saves `bits` bits, or as far as possible.

    They are moved in the order of their cost: how far the real number, in `latents`, is above the midpoint of the two
    integers, per bit saved.
    """
    rate = RateModel(integers)
    magnitudes = torch.cat([values.flatten().abs() for values in integers])
    saved = rate.bits_between(integers)
    distances = torch.cat([latent.detach().flatten().abs().cpu() for latent in latents]) - (magnitudes - 0.5)
    costs = torch.where(magnitudes > 0, distances / saved.clamp(min=_SMALLEST_SAVING), torch.inf)
    order = costs.argsort(stable=True)
    possible = int(costs.isfinite().sum())
    enough = int(torch.searchsorted(saved[order].double().cumsum(dim=0), bits)) + 1
    moved = torch.zeros(len(magnitudes), dtype=torch.bool)
    moved[order[: min(enough, possible)]] = True
    parts = moved.split([values.numel() for values in integers])
    return [
        values - values.sign() * part.view(values.shape).to(values.dtype)
        for values, part in zip(integers, parts, strict=True)
    ]
