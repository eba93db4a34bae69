"""Boxes of detectors."""

import torch
from torch import Tensor

from nern_core.networks.onnx_graph.operators.call import Call, operator


@operator("NonMaxSuppression")
def non_max_suppression(
    call: Call,
    boxes: Tensor,
    scores: Tensor,
    most: Tensor | None = None,
    overlap: Tensor | None = None,
    least: Tensor | None = None,
) -> Tensor:
    limit = 0 if most is None else int(most)
    most_overlap = 0.0 if overlap is None else float(overlap)
    first, last = _corners(boxes.detach().cpu(), is_centred=bool(call.get("center_point_box", 0)))
    areas = (last - first).prod(dim=-1)
    chosen: list[list[int]] = []
    for batch, of_classes in enumerate(scores.detach().cpu()):
        for label, of_boxes in enumerate(of_classes):
            order = of_boxes.argsort(descending=True, stable=True)
            if least is not None:
                order = order[of_boxes[order] > float(least)]
            kept = 0
            while len(order) and kept < limit:
                best, order = order[0], order[1:]
                chosen.append([batch, label, int(best)])
                kept += 1
                common = torch.minimum(last[batch, order], last[batch, best])
                common = (common - torch.maximum(first[batch, order], first[batch, best])).clamp(min=0).prod(dim=-1)
                shares = common / (areas[batch, order] + areas[batch, best] - common)
                order = order[shares <= most_overlap]
    return torch.tensor(chosen, dtype=torch.int64).reshape(-1, 3)


def _corners(boxes: Tensor, *, is_centred: bool) -> tuple[Tensor, Tensor]:
    """Return the corners nearest to and farthest from the origin, (batch, boxes, 2) each."""
    if is_centred:
        centres, sizes = boxes[..., :2], boxes[..., 2:]
        return centres - sizes / 2, centres + sizes / 2
    one, other = boxes[..., :2], boxes[..., 2:]
    return torch.minimum(one, other), torch.maximum(one, other)
