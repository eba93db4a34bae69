"""Train a network on Tiny ImageNet at 32x32 pixels, for `bench.real_networks`.

python -m bench.train_tiny_imagenet FOLDER [--network resnet18 | mobilenet] [--epochs N] writes the weights to
FOLDER/NETWORK.safetensors after every epoch, and the accuracy on the validation images, which nothing else is chosen
by, to bench/results/tiny_imagenet.json. One cycle of the learning rate, random crops and mirrored images.
"""

import argparse
import json
import time
from collections.abc import Iterator
from pathlib import Path

import torch
import torch.nn.functional as F
from safetensors.torch import save_file
from torch import Tensor, nn

from bench.assets import RESULTS
from bench.machine import describe_machine
from bench.tiny_imagenet import NETWORKS, SIDE, TinyImages, normalized, tiny_images
from nern_core.training.precision import mixed_precision

_RECORD = RESULTS / "tiny_imagenet.json"
_BATCH = 256
_PEAK, _MOMENTUM, _WEIGHT_DECAY = 0.2, 0.9, 5e-4
_SMOOTHING = 0.1
_PADDING = 4


def main() -> None:
    """Train, and record the accuracy."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--network", choices=NETWORKS, default="resnet18")
    parser.add_argument("--epochs", type=int, default=10)
    parser.add_argument("--seed", type=int, default=0)
    chosen = parser.parse_args()
    chosen.folder.mkdir(parents=True, exist_ok=True)
    torch.manual_seed(chosen.seed)
    network = NETWORKS[chosen.network]().to(memory_format=torch.channels_last)  # type: ignore[call-overload] # torch's annotations have no formats
    images, test = tiny_images("train"), tiny_images("validation")
    started, trained = time.perf_counter(), 0.0
    for epoch, loss in enumerate(_epochs(network, images, chosen.epochs), start=1):
        trained = time.perf_counter() - started
        weights = {name: tensor.contiguous() for name, tensor in network.state_dict().items()}
        save_file(weights, chosen.folder / f"{chosen.network}.safetensors")
        print(f"epoch {epoch}: loss {loss:.3f}, {accuracy(network, test):.2f} %, {trained:.0f} s", flush=True)
    _record(chosen.network, chosen.epochs, chosen.seed, accuracy(network, test), trained)


def _epochs(network: nn.Module, images: TinyImages, epochs: int) -> Iterator[float]:
    """Train for epochs; yield the mean loss of each."""
    optimizer = torch.optim.SGD(
        network.parameters(), lr=_PEAK, momentum=_MOMENTUM, weight_decay=_WEIGHT_DECAY, nesterov=True
    )
    steps = len(images.labels) // _BATCH
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, _PEAK, total_steps=epochs * steps, pct_start=0.25)
    for _ in range(epochs):
        network.train()
        order, total = torch.randperm(len(images.labels)), 0.0
        for chosen in order[: steps * _BATCH].split(_BATCH):
            inputs = _augmented(normalized(images.pixels[chosen])).contiguous(memory_format=torch.channels_last)
            with mixed_precision(inputs.device):
                logits = network(inputs)
            loss = F.cross_entropy(logits.float(), images.labels[chosen], label_smoothing=_SMOOTHING)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
            total += loss.item() / steps
        yield total


def _augmented(images: Tensor) -> Tensor:
    """Mirror every second image and shift each one, at random: (n, 3, 32, 32)."""
    flipped = torch.where(torch.rand(len(images), 1, 1, 1) < 0.5, images.flip(3), images)
    padded = F.pad(flipped, (_PADDING,) * 4)
    rows, columns = (torch.randint(2 * _PADDING + 1, (len(images), 1)) + torch.arange(SIDE) for _ in range(2))
    numbers = torch.arange(len(images))[:, None, None]
    return padded.movedim(1, 3)[numbers, rows[:, :, None], columns[:, None]].movedim(3, 1)


@torch.no_grad()
def accuracy(network: nn.Module, images: TinyImages) -> float:
    """Return the share of correct answers, in percent."""
    network.eval()
    parts = zip(images.pixels.split(500), images.labels.split(500), strict=True)
    correct = sum(int((network(normalized(pixels)).argmax(dim=1) == labels).sum()) for pixels, labels in parts)
    return 100 * correct / len(images.labels)


def _record(network: str, epochs: int, seed: int, percent: float, seconds: float) -> None:
    record = json.loads(_RECORD.read_text()) if _RECORD.exists() else {"networks": {}}
    record["machine"] = describe_machine()
    record["networks"][network] = {
        "accuracy": percent,
        "epochs": epochs,
        "seed": seed,
        "seconds": round(seconds),
    }
    _RECORD.write_text(json.dumps(record, indent=2) + "\n")


if __name__ == "__main__":
    main()
