"""Fourier transforms, and windows of signals."""

import math
from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional as F

from nern_core.networks.onnx_graph.operators.call import Call, dtype_of, operator


def _complex(x: Tensor) -> Tensor:
    """Return complex numbers from a last axis of one or two values."""
    return torch.complex(x[..., 0], x[..., 1] if x.shape[-1] == 2 else torch.zeros_like(x[..., 0]))


@operator("DFT")
def discrete_fourier_transform(
    call: Call, x: Tensor, length: Tensor | None = None, axis: Tensor | None = None
) -> Tensor:
    along = call.get("axis", 1) if call.opset < 20 else (-2 if axis is None else int(axis))
    along %= x.ndim
    is_inverse, is_onesided = bool(call.get("inverse", 0)), bool(call.get("onesided", 0))
    values, size = _complex(x), None if length is None else int(length)
    if is_inverse and is_onesided:
        real: Tensor = torch.fft.irfft(values, n=size, dim=along)
        return real[..., None]
    found = (torch.fft.ifft if is_inverse else torch.fft.fft)(values, n=size, dim=along)
    if is_onesided:
        found = found.narrow(along, 0, found.shape[along] // 2 + 1)
    return torch.view_as_real(found)


@operator("STFT")
def short_time_fourier_transform(
    call: Call, signal: Tensor, step: Tensor, window: Tensor | None = None, length: Tensor | None = None
) -> Tensor:
    size = signal.shape[1] if window is None else len(window)
    size = size if length is None else int(length)
    values = _complex(signal) if signal.ndim == 3 else signal.to(torch.complex64)
    frames = values.unfold(1, size, int(step))
    if window is not None:
        frames = frames * F.pad(window, (0, size - len(window))).to(frames.device)
    found = torch.fft.fft(frames, dim=-1)
    if call.get("onesided", 1):
        found = found[..., : size // 2 + 1]
    return torch.view_as_real(found)


def _window(call: Call, size: Tensor, coefficients: Sequence[float]) -> Tensor:
    """Return a sum of cosines: the whole number of periods is one, or ends before the last point of a symmetric one."""
    count = int(size)
    period = count if call.get("periodic", 1) else max(1, count - 1)
    angles = torch.arange(count, dtype=torch.float64) * (2 * math.pi / period)
    terms = [part * torch.cos(order * angles) for order, part in enumerate(coefficients)]
    return torch.stack(terms).sum(dim=0).to(dtype_of(call.get("output_datatype", 1)))


@operator("HannWindow")
def hann_window(call: Call, size: Tensor) -> Tensor:
    return _window(call, size, (0.5, -0.5))


@operator("HammingWindow")
def hamming_window(call: Call, size: Tensor) -> Tensor:
    return _window(call, size, (25 / 46, -21 / 46))


@operator("BlackmanWindow")
def blackman_window(call: Call, size: Tensor) -> Tensor:
    return _window(call, size, (0.42, -0.5, 0.08))
