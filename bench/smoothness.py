"""Effect of the smoothness penalty on a network and its encoding: the digits CNN, trained with and without it.

python -m bench.smoothness [--seeds 0 1 2] writes bench/results/smoothness.json. Each network is trained as in
examples/train_digits.py and encoded by reconstruction alone (`fast` without data, a budget in steps), with and
without permutations. Accuracies are those of the 500 test images, after the last step; nothing is chosen by them.
"""

import argparse
import json
import tempfile
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file

from bench.assets import EXAMPLES, RESULTS
from bench.machine import describe_machine
from examples.train_digits import train
from nern_core.contract.options import EncodeOptions, Permutation
from nern_core.encoder import encode
from nern_core.networks import build_network, find_architecture
from nern_core.networks.datasets import read_image_set
from nern_core.networks.evaluate import accuracy
from nern_core.representations.predicted.smoothness import smoothness_penalty

DIGITS = EXAMPLES / "digits"
FACTORS = (0.0, 1e-5, 1e-4, 1e-3)
HIDDEN_SIZE = 48
STEPS = 600


def main() -> None:
    """Train, encode and record."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    arguments = parser.parse_args()
    runs = []
    for factor in FACTORS:
        for seed in arguments.seeds:
            run = {"factor": factor, "seed": seed} | measure(factor, seed)
            print(json.dumps(run), flush=True)
            runs.append(run)
    settings = {"hidden_size": HIDDEN_SIZE, "steps": STEPS}
    result = {"machine": describe_machine(), "settings": settings, "runs": runs}
    (RESULTS / "smoothness.json").write_text(json.dumps(result, indent=2) + "\n")


def measure(factor: float, seed: int) -> dict[str, Any]:
    """Train one network and encode it with and without permutations."""
    architecture = find_architecture("digits-cnn")
    test = read_image_set(DIGITS, "test")
    network = train(read_image_set(DIGITS, "train"), smoothness=factor, seed=seed)
    torch.use_deterministic_algorithms(mode=False)
    result: dict[str, Any] = {
        "penalty": round(float(smoothness_penalty(network).detach()), 1),
        "original_accuracy": accuracy(network, test, architecture.preprocessing),
    }
    with tempfile.TemporaryDirectory() as name:
        checkpoint = Path(name) / "digits.safetensors"
        save_file(network.state_dict(), checkpoint)
        for permutation in (Permutation.NONE, Permutation.CROSS_FILTER):
            options = EncodeOptions(hidden_size=HIDDEN_SIZE, permutation=permutation, steps=STEPS, seed=seed)
            encoded = encode(checkpoint, Path(name) / "digits.nern", options)
            decoded = build_network(architecture, encoded.comparison.decoded.tensors)
            result[permutation.value] = {
                "accuracy": accuracy(decoded, test, architecture.preprocessing),
                "relative_error": encoded.report.metrics.relative_error,
                "file_bytes": encoded.report.metrics.file_bytes,
            }
    return result


if __name__ == "__main__":
    main()
