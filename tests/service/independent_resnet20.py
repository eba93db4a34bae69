"""Accuracy of a ResNet20 checkpoint on CIFAR-10's test images, without code of this project.

python independent_resnet20.py WEIGHTS TEST_NPZ prints the accuracy in percent. It represents the pipeline of a user who
downloads the weights.
"""

import sys

import numpy as np
import torch
from safetensors.torch import load_file
from torch.nn.functional import batch_norm, conv2d, linear, pad, relu

MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


def main(weights: str, images: str) -> None:
    """Load, run and count."""
    tensors = load_file(weights) if weights.endswith(".safetensors") else torch.load(weights, weights_only=True)
    # The decoded file has the names of the uploaded one, which was saved from DataParallel.
    tensors = {name.removeprefix("module."): tensor for name, tensor in tensors.items()}
    with np.load(images) as file:
        pixels = torch.from_numpy(file["images"]).permute(0, 3, 1, 2)
        labels = torch.from_numpy(file["labels"].astype(np.int64))
    mean, std = torch.tensor(MEAN)[:, None, None], torch.tensor(STD)[:, None, None]
    correct = 0
    with torch.no_grad():
        for batch, wanted in zip(pixels.split(500), labels.split(500), strict=True):
            logits = resnet20(tensors, (batch / 255 - mean) / std)
            correct += int((logits.argmax(1) == wanted).sum())
    print(100 * correct / len(labels))


def resnet20(w: dict[str, torch.Tensor], x: torch.Tensor) -> torch.Tensor:
    """Compute the outputs of the option-A network of He et al. from its weights."""

    def norm(name: str, x: torch.Tensor) -> torch.Tensor:
        mean, var = w[f"{name}.running_mean"], w[f"{name}.running_var"]
        return batch_norm(x, mean, var, w[f"{name}.weight"], w[f"{name}.bias"])

    x = relu(norm("bn1", conv2d(x, w["conv1.weight"], padding=1)))
    for stage in (1, 2, 3):
        for block in range(3):
            name, stride = f"layer{stage}.{block}", 2 if stage > 1 and block == 0 else 1
            y = relu(norm(f"{name}.bn1", conv2d(x, w[f"{name}.conv1.weight"], padding=1, stride=stride)))
            y = norm(f"{name}.bn2", conv2d(y, w[f"{name}.conv2.weight"], padding=1))
            x = x[:, :, ::stride, ::stride]
            missing = (y.shape[1] - x.shape[1]) // 2
            x = relu(y + pad(x, (0, 0, 0, 0, missing, missing)))
    return linear(x.mean((2, 3)), w["linear.weight"], w["linear.bias"])


if __name__ == "__main__":
    main(*sys.argv[1:])
