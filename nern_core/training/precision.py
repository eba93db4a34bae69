"""Mixed precision: bfloat16 products if the hardware has units for them, else float32.

A CPU without such units emulates bfloat16, an order of magnitude slower than float32. Networks tolerate bfloat16 well:
ResNet20's logits change by 0.06 (root mean square). The predictor does not: the logits of the network with its
predicted weights change by 0.45, more than the difference between the two networks after distillation. So it is trained
in bfloat16 only while it is far from its goal. Quantized weights start close to it: they are trained in bfloat16 only
if that changes the outputs much less than their rounding.
"""

from contextlib import AbstractContextManager, nullcontext

import torch


def has_bfloat16_units(device: torch.device) -> bool:
    """Return True if bfloat16 products are faster than float32 ones on this device."""
    if device.type == "cuda":
        supported: bool = torch.cuda.is_bf16_supported(including_emulation=False)
        return supported
    # A torch version without this function gets float32, which is always correct.
    capabilities: dict[str, bool] = getattr(torch.cpu, "get_capabilities", dict)()
    return any(capabilities.get(name, False) for name in ("avx512_bf16", "amx_bf16"))


def mixed_precision(device: torch.device) -> AbstractContextManager[object]:
    """Return an autocast to bfloat16 if that is faster, else a no-op."""
    if has_bfloat16_units(device):
        return torch.autocast(device.type, torch.bfloat16)
    return nullcontext()


def full_precision(device: torch.device) -> AbstractContextManager[object]:
    """Return a context without autocast, also inside of mixed precision."""
    return torch.autocast(device.type, enabled=False)
