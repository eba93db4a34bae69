"""Convolutions and transposed convolutions of one to three spatial axes."""

import torch
from torch import Tensor
from torch.nn import functional as F

from nern_core.networks.onnx_graph.operators.call import Call, operator
from nern_core.networks.onnx_graph.operators.windows import Windows


@operator("Conv")
def conv(call: Call, x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    windows = Windows.of(call, x, weight.shape[2:])
    padding = windows.before
    if not windows.is_symmetric:
        x, padding = F.pad(x, windows.pads), (0,) * len(windows.sizes)
    return torch.convolution(
        x,
        weight,
        bias,
        windows.strides,
        padding,
        windows.dilations,
        False,  # torch takes it by position
        (0,) * len(windows.sizes),
        call.get("group", 1),
    )


@operator("ConvTranspose")
def conv_transpose(call: Call, x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    sizes = weight.shape[2:]
    axes = len(sizes)
    windows = Windows.of(Call({**call.attributes, "auto_pad": "NOTSET"}, 1, call.opset), x, sizes)
    extra = tuple(call.get("output_padding") or (0,) * axes)
    before, after = _pads(call, x, windows, extra)
    full = torch.convolution(
        x,
        weight,
        None,
        windows.strides,
        (0,) * axes,
        windows.dilations,
        True,  # torch takes it by position
        (0,) * axes,
        call.get("group", 1),
    )
    # Negative pads cut.
    cut = [
        -amount if first else further - amount
        for axis in reversed(range(axes))
        for first, amount, further in ((True, before[axis], 0), (False, after[axis], extra[axis]))
    ]
    cropped = F.pad(full, cut) if any(cut) else full
    return cropped if bias is None else cropped + bias.view(-1, *(1,) * axes)


def _pads(call: Call, x: Tensor, windows: Windows, extra: tuple[int, ...]) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Return what is cut off before and after each axis: given, or what remains above the size of the output."""
    automatic, wanted = call.get("auto_pad", "NOTSET"), call.get("output_shape")
    if automatic == "NOTSET" and wanted is None:
        return windows.before, windows.after
    if automatic == "VALID":
        return (0,) * len(windows.sizes), (0,) * len(windows.sizes)
    before, after = [], []
    for axis, length in enumerate(x.shape[2:]):
        stride = windows.strides[axis]
        size = length * stride if wanted is None else wanted[-len(windows.sizes) + axis]
        span = windows.dilations[axis] * (windows.sizes[axis] - 1) + 1
        # Negative if the output is larger.
        total = stride * (length - 1) + extra[axis] + span - size
        half = int(total / 2)
        before.append(half if automatic == "SAME_UPPER" or total < 0 else total - half)
        after.append(total - before[-1])
    return tuple(before), tuple(after)
