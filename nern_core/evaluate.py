"""Accuracy of a network on the test split."""

from pathlib import Path

import torch
from torch import nn

from nern_core.checkpoint import Checkpoint
from nern_core.datasets import ImageSet, dataset_preprocessing, read_image_set, to_inputs
from nern_core.errors import NernError
from nern_core.zoo import Preprocessing, build_network, find_architecture

_IMAGES_PER_BATCH = 250


def accuracy(network: nn.Module, images: ImageSet, preprocessing: Preprocessing) -> float:
    """Share of images, in percent, whose largest logit is at their label; float32, whole split.

    Raises `NernError` (`bad_data`) if a label is outside of the network's classes.
    """
    device = next(network.parameters()).device
    correct = 0
    with torch.no_grad():
        for pixels, labels in zip(
            images.images.split(_IMAGES_PER_BATCH), images.labels.split(_IMAGES_PER_BATCH), strict=True
        ):
            logits = network(to_inputs(pixels.to(device), preprocessing))
            if int(labels.max()) >= logits.shape[1] or int(labels.min()) < 0:
                raise NernError(
                    "bad_data",
                    f"The dataset has the label {int(labels.max())}, but the network has {logits.shape[1]} classes.",
                )
            correct += int((logits.argmax(dim=1).cpu() == labels).sum())
    return 100 * correct / len(images)


def evaluate_checkpoint(checkpoint: Checkpoint, architecture_name: str, dataset: Path) -> float:
    """Accuracy in percent of a checkpoint on the test split of a dataset folder.

    Raises `NernError` where the checkpoint, the architecture or the data do not fit.
    """
    architecture = find_architecture(architecture_name)
    network = build_network(architecture, checkpoint.tensors)
    return accuracy(
        network, read_image_set(dataset, "test"), dataset_preprocessing(dataset, architecture.preprocessing)
    )
