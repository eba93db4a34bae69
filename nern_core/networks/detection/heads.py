"""The outputs of a detection network's heads, before it selects boxes.

The selected boxes of two networks are lists of different lengths, and their selection has no gradients. The logits and
regressions of the heads can be compared one by one. The second stage of an R-CNN computes them for boxes proposed by
the first one, which differ between two networks; so here it gets a fixed set: an even sample of the anchors.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final, TypeAlias

import torch
from torch import Tensor, nn

Forward: TypeAlias = Callable[..., dict[str, Tensor]]

_DETECTION: Final = "torchvision.models.detection."
_TWO_STAGES: Final = "GeneralizedRCNN"
_ONE_STAGE: Final = ("RetinaNet", "SSD", "FCOS")
# Boxes of an image, of each level of the feature maps; masks and keypoints of a box take much more memory.
_BOXES_PER_LEVEL: Final = 64
_BOXES_PER_MASK: Final = 4


def is_detector(network: nn.Module) -> bool:
    """Return True for a detection network of torchvision, also with changed parts."""
    return forward_of_heads(network) is not None


def forward_of_heads(network: nn.Module) -> Forward | None:
    """Return a replacement of a detection network's `forward` that returns the outputs of its heads by name.

    None for any other network. The network is its first argument.
    """
    names = {kind.__name__ for kind in type(network).__mro__ if kind.__module__.startswith(_DETECTION)}
    if _TWO_STAGES in names:
        return _two_stages
    return _one_stage if names.intersection(_ONE_STAGE) else None


def _one_stage(network: Any, images: Sequence[Tensor] | Tensor) -> dict[str, Tensor]:  # noqa: ANN401 # torchvision has no type information
    transformed, _ = network.transform(images)
    outputs: dict[str, Tensor] = network.head(list(_features(network, transformed.tensors).values()))
    return outputs


def _two_stages(network: Any, images: Sequence[Tensor] | Tensor) -> dict[str, Tensor]:  # noqa: ANN401 # as above
    transformed, _ = network.transform(images)
    features = _features(network, transformed.tensors)
    objectness, deltas = network.rpn.head(list(features.values()))
    boxes = _fixed_boxes(network, transformed, list(features.values()))
    heads, sizes = network.roi_heads, transformed.image_sizes
    class_logits, box_regression = heads.box_predictor(heads.box_head(heads.box_roi_pool(features, boxes, sizes)))
    outputs = {
        "objectness": _joined(objectness),
        "pred_bbox_deltas": _joined(deltas),
        "class_logits": class_logits,
        "box_regression": box_regression,
    }
    fewer = [of_image[::_BOXES_PER_MASK] for of_image in boxes]
    if heads.has_mask():
        outputs["mask_logits"] = heads.mask_predictor(heads.mask_head(heads.mask_roi_pool(features, fewer, sizes)))
    if heads.has_keypoint():
        pooled = heads.keypoint_roi_pool(features, fewer, sizes)
        outputs["keypoint_logits"] = heads.keypoint_predictor(heads.keypoint_head(pooled))
    return outputs


def _features(network: Any, images: Tensor) -> Mapping[str, Tensor]:  # noqa: ANN401 # as above
    """Return the feature maps by level; a backbone may return a lone one."""
    features: Tensor | Mapping[str, Tensor] = network.backbone(images)
    return {"0": features} if isinstance(features, Tensor) else features


def _joined(levels: Sequence[Tensor]) -> Tensor:
    """Join the outputs (n, c, h, w) of all levels, because they are one output."""
    return torch.cat([level.flatten(1) for level in levels], dim=1)


@torch.no_grad()
def _fixed_boxes(network: Any, images: Any, features: Sequence[Tensor]) -> list[Tensor]:  # noqa: ANN401 # as above
    """Choose as many anchors of each level, evenly, cut off at the edges of their image; (k, 4) of each image."""
    generator = network.rpn.anchor_generator
    locations = [level.shape[-2] * level.shape[-1] for level in features]
    anchors = [each * count for each, count in zip(generator.num_anchors_per_location(), locations, strict=True)]
    starts = [sum(anchors[:level]) for level in range(len(anchors))]
    chosen = torch.cat(
        [
            start + torch.arange(min(count, _BOXES_PER_LEVEL)) * count // min(count, _BOXES_PER_LEVEL)
            for start, count in zip(starts, anchors, strict=True)
        ]
    )
    boxes: list[Tensor] = [of_image[chosen.to(of_image.device)] for of_image in generator(images, list(features))]
    edges = [(width, height, width, height) for height, width in images.image_sizes]
    return [
        of_image.clamp(min=0).minimum(of_image.new_tensor(edge)) for of_image, edge in zip(boxes, edges, strict=True)
    ]
