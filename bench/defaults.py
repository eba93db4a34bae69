"""Results with default options: only the network and its data are given, several seeds, accuracy on the test split.

python -m bench.defaults [--networks ResNet20 digits] [--seeds 3] encodes, writes results/defaults.json and, from all
recorded runs, defaults.md. The defaults were chosen on held-out training images: `cost_of_size` shows that three bits
per weight are the fewest with an expected drop of less than half a point for a ResNet20.
"""

import argparse
import json
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from bench.assets import DATASET, EXAMPLES, RESULTS, checkpoint_of
from bench.machine import describe_machine
from nern_core.contract.options import EncodeOptions
from nern_core.encoder import encode

_NETWORKS: dict[str, tuple[Path, str, Path]] = {
    "ResNet20": (checkpoint_of(20), "cifar-resnet20", DATASET),
    "digits": (EXAMPLES / "digits-cnn.safetensors", "digits-cnn", EXAMPLES / "digits"),
}


def main() -> None:
    """Encode, record, and write the page."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--networks", nargs="*", default=list(_NETWORKS), choices=list(_NETWORKS))
    parser.add_argument("--seeds", type=int, nargs="*", default=[0, 1, 2])
    arguments = parser.parse_args()
    record = RESULTS / "defaults.json"
    runs: dict[str, Any] = json.loads(record.read_text()) if record.exists() else {}
    for name in arguments.networks:
        for seed in arguments.seeds:
            runs[f"{name}, seed {seed}"] = run = measure(name, seed)
            print(name, run, flush=True)
            record.write_text(json.dumps(runs, indent=2) + "\n")
            (RESULTS / "defaults.md").write_text(page(runs))


def measure(name: str, seed: int) -> dict[str, Any]:
    """Encode a network with only its architecture and data as options."""
    checkpoint, architecture, dataset = _NETWORKS[name]
    with tempfile.TemporaryDirectory() as folder:
        options = EncodeOptions(architecture=architecture, dataset=str(dataset), seed=seed)
        report = encode(checkpoint, Path(folder) / "x.nern", options).report
    metrics = report.metrics
    assert metrics.verdict is not None
    return {
        "network": name,
        "seed": seed,
        "bytes": metrics.file_bytes,
        "original_accuracy": metrics.original_accuracy,
        "accuracy": metrics.reconstructed_accuracy,
        "expected_drop": report.size_trials[-1].drop,
        "verdict": metrics.verdict.level.value,
        "steps": report.curve[-1].step,
        "seconds": metrics.seconds,
        "machine": describe_machine(),
    }


def page(runs: Mapping[str, Mapping[str, Any]]) -> str:
    """Return all recorded runs as a table."""
    rows = [
        f"| {run['network']} | {run['seed']} | {run['bytes']:,} | {run['original_accuracy']:.2f} "
        f"| {run['accuracy']:.2f} | {run['expected_drop']:.2f} | {run['steps']} | {run['seconds']['total']:.0f} "
        f"| {run['verdict']} |"
        for run in runs.values()
    ]
    return "\n".join(
        (
            "# What the defaults make",
            "",
            "`nern encode` with `--architecture` and `--dataset` alone; accuracies on the test split, measured once",
            "with the decoded weights. The expected drop is the estimate on held-out training images by which the size",
            "was accepted. Seconds are of all of the command. Made by `python -m bench.defaults`.",
            "",
            "| network | seed | bytes | original, % | decoded, % | expected drop | steps | seconds | verdict |",
            "|---|---|---|---|---|---|---|---|---|",
            *rows,
            "",
        )
    )


if __name__ == "__main__":
    main()
