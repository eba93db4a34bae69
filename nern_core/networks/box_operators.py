"""torchvision's operators `nms` and `roi_align` in plain torch, for builds of torch beside which its own do not load.

They compute the same as the compiled ones, but slowly: suppression is a loop over the boxes that are kept.
"""

import sys
from typing import Final

import torch
import torch.nn.functional as F
from torch import Tensor

_SCHEMAS: Final = (
    "nms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor",
    # Declared without an implementation, because the import of torchvision describes it.
    "qnms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor",
    "roi_align(Tensor input, Tensor rois, float scale, int height, int width, int ratio, bool aligned) -> Tensor",
)
# Modules that have imported torchvision's answer to the question whether its operators are loaded.
_ASKED: Final = ("torchvision.extension", "torchvision.ops.roi_align")
# The declared operators live as long as this object.
_declared: list[torch.library.Library] = []


def declare_box_operators() -> None:
    """Declare the operators, before torchvision is imported."""
    library = torch.library.Library("torchvision", "DEF")
    for schema in _SCHEMAS:
        library.define(schema)
    # Implicit ones may have no description of their shapes, which torchvision registers for this one.
    library.impl("nms", nms, "CompositeExplicitAutograd")
    library.impl("roi_align", roi_align, "CompositeImplicitAutograd")
    _declared.append(library)


def use_box_operators() -> None:
    """Let torchvision, which is imported, call the declared operators instead of raising an error."""
    for name in _ASKED:
        vars(sys.modules[name])["_has_ops"] = lambda: True


def nms(boxes: Tensor, scores: Tensor, iou_threshold: float) -> Tensor:
    """Return the indices of boxes (n, 4) by descending score, without those that overlap a better one too much."""
    from torchvision.ops import box_iou

    order = scores.argsort(descending=True, stable=True)
    # One box after another is compared, so a GPU would be waited for each time.
    rest, left = boxes[order].cpu(), torch.arange(len(boxes))
    kept = []
    while len(left):
        kept.append(int(left[0]))
        overlaps = box_iou(rest[:1], rest[1:])[0]
        # Boxes without area have no overlap, which is not a number.
        rest, left = (of[1:][~(overlaps > iou_threshold)] for of in (rest, left))
    return order[torch.tensor(kept, dtype=torch.int64, device=order.device)]


def roi_align(
    features: Tensor,
    rois: Tensor,
    spatial_scale: float,
    pooled_height: int,
    pooled_width: int,
    sampling_ratio: int,
    aligned: bool,  # the operator has positional arguments
) -> Tensor:
    """Average features (n, c, h, w) in each cell of regions of interest (k, 5): image, left, top, right, bottom.

    A cell has `sampling_ratio` squared samples; with 0 or less, as many in each direction as it has pixels, rounded up.
    Returns (k, c, pooled_height, pooled_width).
    """
    shape = (pooled_height, pooled_width)
    start, end = (rois[:, 1:].float() * spatial_scale - 0.5 * aligned).split(2, dim=1)
    sizes = end - start
    sizes = sizes if aligned else sizes.clamp(min=1)
    cells = sizes / sizes.new_tensor((pooled_width, pooled_height))
    counts = cells.ceil().clamp(min=1).long() if sampling_ratio <= 0 else torch.full_like(cells, sampling_ratio).long()
    pooled = features.new_zeros((len(rois), features.shape[1], *shape))
    # Regions of one image with the same number of samples are computed together.
    kinds, kind_of = torch.cat([rois[:, :1].long(), counts], dim=1).unique(dim=0, return_inverse=True)
    for number, (image, across, down) in enumerate(kinds.tolist()):
        chosen = (kind_of == number).nonzero()[:, 0]
        x = _positions(start[chosen, 0], cells[chosen, 0], pooled_width, across)
        y = _positions(start[chosen, 1], cells[chosen, 1], pooled_height, down)
        pooled = pooled.index_put((chosen,), _sampled(features[image], x, y, shape).to(pooled.dtype))
    return pooled


def _positions(start: Tensor, cell: Tensor, cells: int, samples: int) -> Tensor:
    """Return the coordinates (k, cells * samples) of the samples of k regions along one axis."""
    inside = (torch.arange(cells * samples, device=start.device) + 0.5) / samples
    return start[:, None] + cell[:, None] * inside


def _sampled(features: Tensor, x: Tensor, y: Tensor, shape: tuple[int, int]) -> Tensor:
    """Interpolate features (c, h, w) at the grids of coordinates (k, columns) and (k, rows), and average each cell."""
    _, height, width = features.shape
    is_inside = ((y >= -1) & (y <= height))[:, :, None] & ((x >= -1) & (x <= width))[:, None]
    # In units of the grid, -1 is the centre of the first pixel and 1 that of the last; beyond, their values count.
    columns, rows = (2 * at / max(size - 1, 1) - 1 for at, size in ((x, width), (y, height)))
    count, down, across = is_inside.shape
    grid = torch.stack([columns[:, None].expand(-1, down, -1), rows[:, :, None].expand(-1, -1, across)], dim=-1)
    values = F.grid_sample(
        features[None].float(), grid.reshape(1, count * down, across, 2), padding_mode="border", align_corners=True
    )
    values = values[0].unflatten(1, (count, down)).transpose(0, 1) * is_inside[:, None]
    return F.adaptive_avg_pool2d(values, shape)
