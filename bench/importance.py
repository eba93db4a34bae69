"""Does a badly reconstructed kernel matter less? Prune ResNet20 by that, and by other criteria.

python -m bench.importance [--only reconstruction distillation] [--seconds 150] [--images 10000] encodes ResNet20 by
reconstruction alone (without data) and with distillation, scores its kernels by each encoding, and writes
bench/results/importance.json and docs/importance-*.svg. Accuracy is that of the original network after pruning, on
`--images` test images of CIFAR-10, evenly spread; nothing is chosen by it. nern_core/importance documents the orders of
pruning.
"""

import argparse
import json
import tempfile
from pathlib import Path
from typing import Any

from bench.assets import DATASET, HERE, RESULTS, checkpoint_of
from bench.machine import describe_machine
from nern_core.analysis.importance import measure
from nern_core.analysis.importance.files import draw_pruning
from nern_core.contract.options import EncodeOptions
from nern_core.encoder import encode

ARCHITECTURE = "cifar-resnet20"
DATASETS = {"reconstruction": None, "distillation": str(DATASET)}


def main() -> None:
    """Encode, measure, record and draw."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", nargs="+", choices=DATASETS, default=list(DATASETS))
    parser.add_argument("--seconds", type=float, default=150)
    parser.add_argument("--images", type=int, default=10000)
    arguments = parser.parse_args()
    path = RESULTS / "importance.json"
    runs: dict[str, Any] = json.loads(path.read_text()) if path.exists() else {}
    for name in arguments.only:
        runs[name] = run(name, arguments.seconds, arguments.images)
        path.write_text(json.dumps(runs, indent=2) + "\n")


def run(name: str, seconds: float, images: int) -> dict[str, Any]:
    """Encode in one of the two ways, measure and draw; return the record."""
    with tempfile.TemporaryDirectory() as folder:
        encoding = Path(folder) / "r20.nern"
        options = EncodeOptions(architecture=ARCHITECTURE, dataset=DATASETS[name], hidden_size=160, seconds=seconds)
        comparison = encode(checkpoint_of(20), encoding, options).comparison
        found = measure(comparison, dataset=DATASET, images=images).importance
    (HERE.parent / "docs" / f"importance-{name}.svg").write_text(draw_pruning(found), encoding="utf-8")
    for correlation in found.correlations:
        print(f"{name}: {correlation.granularity} {correlation.first} {correlation.second} {correlation.spearman}")
    return {"machine": describe_machine(), "budget_seconds": seconds} | found.model_dump(mode="json")


if __name__ == "__main__":
    main()
