"""Windows that move over spatial axes: their strides, and the padding around their input."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Self

from torch import Tensor

from nern_core.networks.onnx_graph.operators.call import Call


@dataclass(frozen=True, slots=True)
class Windows:
    """Sizes of windows by spatial axis, with their strides and dilations, and pads before and after each axis."""

    sizes: tuple[int, ...]
    strides: tuple[int, ...]
    dilations: tuple[int, ...]
    before: tuple[int, ...]
    after: tuple[int, ...]

    @classmethod
    def of(cls, call: Call, x: Tensor, sizes: Sequence[int]) -> Self:
        """Read the attributes of a node; automatic pads depend on the input (N, C, ...)."""
        axes = len(sizes)
        strides = tuple(call.get("strides") or (1,) * axes)
        dilations = tuple(call.get("dilations") or (1,) * axes)
        pads = tuple(call.get("pads") or (0,) * (2 * axes))
        before, after = pads[:axes], pads[axes:]
        automatic = call.get("auto_pad", "NOTSET")
        if automatic == "VALID":
            before = after = (0,) * axes
        elif automatic.startswith("SAME"):
            spans = [dilation * (size - 1) + 1 for size, dilation in zip(sizes, dilations, strict=True)]
            totals = [
                max(0, (-(-length // stride) - 1) * stride + span - length)
                for length, stride, span in zip(x.shape[2:], strides, spans, strict=True)
            ]
            smaller, larger = tuple(total // 2 for total in totals), tuple(total - total // 2 for total in totals)
            before, after = (smaller, larger) if automatic == "SAME_UPPER" else (larger, smaller)
        return cls(tuple(sizes), strides, dilations, before, after)

    @property
    def is_symmetric(self) -> bool:
        """Return True if as much is padded before as after each axis."""
        return self.before == self.after

    @property
    def fits_pooling(self) -> bool:
        """Return True if torch's pooling takes these pads: equal ones, of half a window at most."""
        return self.is_symmetric and all(2 * pad <= size for pad, size in zip(self.before, self.sizes, strict=True))

    @property
    def pads(self) -> list[int]:
        """Return the pads as `torch.nn.functional.pad` takes them: those of the last axis first."""
        return [pad for pair in zip(reversed(self.before), reversed(self.after), strict=True) for pad in pair]

    def with_last(self, x: Tensor) -> tuple[int, ...]:
        """Return the pads after each axis that also hold the last windows, which begin inside of the input."""
        found = []
        for axis, length in enumerate(x.shape[2:]):
            span = self.dilations[axis] * (self.sizes[axis] - 1) + 1
            padded = length + self.before[axis] + self.after[axis]
            count = -(-(padded - span) // self.strides[axis]) + 1
            if (count - 1) * self.strides[axis] >= length + self.before[axis]:
                count -= 1
            missing = (count - 1) * self.strides[axis] + span - padded
            found.append(self.after[axis] + max(0, missing))
        return tuple(found)
