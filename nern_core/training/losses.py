"""The losses of the paper (section 3.2) and their variants; each returns a scalar."""

import torch
import torch.nn.functional as F
from torch import Tensor

# Offsets that keep normalized maps and probabilities away from zero, as in the authors' code.
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


def logit_divergence(student: Tensor, teacher: Tensor, temperature: float = 1.0) -> Tensor:
    """Mean KL(teacher || student) in nats of logits (n, classes).

    A temperature T divides both logits. The divergence is multiplied by T^2 so that gradients keep their size.
    """
    log_student, log_teacher = ((logits / temperature).log_softmax(dim=1) for logits in (student, teacher))
    return F.kl_div(log_student, log_teacher, reduction="batchmean", log_target=True) * temperature**2


def published_logit_divergence(student: Tensor, teacher: Tensor, temperature: float = 1.0) -> Tensor:
    """The same, but with 1e-4 added to the student's probabilities, as in the published runs (paper, equation 4)."""
    log_student = ((student / temperature).softmax(dim=1) + _PROBABILITY_OFFSET).log()
    return F.kl_div(log_student, (teacher / temperature).softmax(dim=1), reduction="batchmean") * temperature**2


def squared_logit_error(student: Tensor, teacher: Tensor) -> Tensor:
    """Mean squared difference of logits, over images and classes."""
    return (student - teacher).square().mean()


def feature_distance(student: list[Tensor], teacher: list[Tensor]) -> Tensor:
    """Feature-map distillation (paper, equation 3) of maps (n, C, H, W), one tensor per layer.

    It is the squared L2 distance of maps normalized per sample, summed over layers and averaged over images.
    """
    distances = [
        (_normalized(s) - _normalized(t)).square().sum() / len(s) for s, t in zip(student, teacher, strict=True)
    ]
    return torch.stack(distances).sum()


def _normalized(maps: Tensor) -> Tensor:
    flat = maps.flatten(1)
    norms: Tensor = flat.norm(dim=1, keepdim=True)
    return flat / (norms + _NORM_OFFSET)
