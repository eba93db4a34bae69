"""The losses of the paper (section 3.2) and their variants; every one returns a scalar."""

import torch
import torch.nn.functional as F
from torch import Tensor

# The authors keep normalized maps and probabilities away from zero by these amounts.
_NORM_OFFSET = 1e-3
_PROBABILITY_OFFSET = 1e-4


def root_mean_squared_error(predicted: dict[str, Tensor], targets: dict[str, Tensor]) -> Tensor:
    """Reconstruction loss of the paper, equation 2: RMSE over all weights of all heads, (n, H*W) each."""
    squared = torch.stack([(predicted[head] - targets[head]).square().sum() for head in targets])
    return (squared.sum() / sum(kernels.numel() for kernels in targets.values())).sqrt()


def weighted_squared_error(predicted: Tensor, target: Tensor, weight: Tensor | None) -> Tensor:
    """Mean squared error of kernels (n, H*W), each kernel weighted by `weight` (n,)."""
    squared = (predicted - target).square().mean(dim=1)
    return (squared if weight is None else squared * weight).mean()


def logit_divergence(student: Tensor, teacher: Tensor) -> Tensor:
    """Mean KL(teacher || student) in nats of logits (n, classes)."""
    return F.kl_div(student.log_softmax(dim=1), teacher.log_softmax(dim=1), reduction="batchmean", log_target=True)


def published_logit_divergence(student: Tensor, teacher: Tensor) -> Tensor:
    """The same with the student's probabilities raised by 1e-4, as in the published runs (paper, equation 4)."""
    log_student = (student.softmax(dim=1) + _PROBABILITY_OFFSET).log()
    return F.kl_div(log_student, teacher.softmax(dim=1), reduction="batchmean")


def feature_distance(student: list[Tensor], teacher: list[Tensor]) -> Tensor:
    """Feature-map distillation (paper, equation 3) of maps (n, C, H, W), one tensor for each layer.

    The squared L2 distance of maps that are normalized per sample, summed over layers, averaged over images.
    """
    distances = [
        (_normalized(s) - _normalized(t)).square().sum() / len(s) for s, t in zip(student, teacher, strict=True)
    ]
    return torch.stack(distances).sum()


def _normalized(maps: Tensor) -> Tensor:
    flat = maps.flatten(1)
    norms: Tensor = flat.norm(dim=1, keepdim=True)
    return flat / (norms + _NORM_OFFSET)
