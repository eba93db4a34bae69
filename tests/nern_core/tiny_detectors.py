"""Detection networks of torchvision with a few thousand weights, for images of 32 pixels."""

import torch
from torch import nn

from nern_core.networks.torchvision_models import import_models

CLASSES = 3
_PIXELS = 32
_CHANNELS = 16

import_models()


class _Backbone(nn.Sequential):
    """Feature maps of one level."""

    out_channels = _CHANNELS


def _backbone() -> nn.Module:
    return _Backbone(nn.Conv2d(3, _CHANNELS, 3, 2, 1), nn.ReLU(), nn.Conv2d(_CHANNELS, _CHANNELS, 3, 2, 1), nn.ReLU())


def tiny_rcnn() -> nn.Module:
    """Return a network of two stages, which finds boxes with scores above a half."""
    from torchvision.models.detection import FasterRCNN
    from torchvision.models.detection.anchor_utils import AnchorGenerator
    from torchvision.models.detection.faster_rcnn import TwoMLPHead
    from torchvision.ops import MultiScaleRoIAlign

    torch.manual_seed(0)
    network: nn.Module = FasterRCNN(
        _backbone(),
        min_size=_PIXELS,
        max_size=_PIXELS,
        rpn_anchor_generator=AnchorGenerator(((8, 16),), ((0.5, 1.0, 2.0),)),
        rpn_post_nms_top_n_test=20,
        box_roi_pool=MultiScaleRoIAlign(["0"], output_size=3, sampling_ratio=2),
        box_head=TwoMLPHead(_CHANNELS * 9, 32),
        box_predictor=_certain_predictor(),
    )
    return network.eval()


def _certain_predictor() -> nn.Module:
    from torchvision.models.detection.faster_rcnn import FastRCNNPredictor

    predictor: nn.Module = FastRCNNPredictor(32, CLASSES)
    with torch.no_grad():
        predictor.get_parameter("cls_score.bias").copy_(torch.tensor([-2.0, 0.0, 1.0]))
    return predictor


def tiny_retinanet() -> nn.Module:
    """Return a network of one stage."""
    from torchvision.models.detection import RetinaNet
    from torchvision.models.detection.anchor_utils import AnchorGenerator

    torch.manual_seed(0)
    anchors = AnchorGenerator(((8,),), ((1.0,),))
    network: nn.Module = RetinaNet(_backbone(), CLASSES, min_size=_PIXELS, max_size=_PIXELS, anchor_generator=anchors)
    return network.eval()
