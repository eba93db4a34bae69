"""Rank the kernels of ResNet20 by the error of their reconstruction, and prune ResNet20 by that and by other criteria.

python -m bench.importance [--encoding FILE | --seconds 150] [--images 10000] writes bench/results/importance.json
and docs/importance.svg. Accuracy is that of the original network after pruning, on so many test images of
CIFAR-10, evenly spread; nothing is chosen by it. What is pruned in which order is said in nern_core/importance.
"""

import argparse
import json
import tempfile
from pathlib import Path

from bench.assets import DATASET, HERE, RESULTS, checkpoint_of
from bench.machine import describe_machine
from bench.meta_compression import encode_resnet20
from nern_core.importance import measure
from nern_core.importance.files import draw_pruning
from nern_core.progress import Progress


def main() -> None:
    """Encode unless an encoding is given, measure, record and draw."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--encoding", type=Path)
    parser.add_argument("--seconds", type=float, default=150)
    parser.add_argument("--images", type=int, default=10000)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        encoding = arguments.encoding or encode_resnet20(Path(folder) / "r20.nern", arguments.seconds)
        found = measure(checkpoint_of(20), encoding, dataset=DATASET, images=arguments.images, on_progress=show)
    record = {"machine": describe_machine()} | found.importance.model_dump(mode="json")
    (RESULTS / "importance.json").write_text(json.dumps(record, indent=2) + "\n")
    (HERE.parent / "docs" / "importance.svg").write_text(draw_pruning(found.importance), encoding="utf-8")
    for correlation in found.importance.correlations:
        print(f"{correlation.granularity} {correlation.first} {correlation.second}: {correlation.spearman}")


def show(progress: Progress) -> None:
    """Print how far it is."""
    print(f"{progress.step} of {progress.total} points", flush=True)
