"""Prune and quantize both the predictor of ResNet20 and ResNet20 itself, and compare them at equal bytes.

python -m bench.meta_compression [--encoding FILE | --seconds 150] [--images 10000] writes
bench/results/meta_compression.json and docs/meta-compression.svg. Accuracy is that on `--images` test images of
CIFAR-10, evenly spread. nern_core/meta_compression documents how bytes are counted.
"""

import argparse
import json
import tempfile
from pathlib import Path

from bench.assets import DATASET, HERE, RESULTS, checkpoint_of
from bench.machine import describe_machine
from nern_core.analysis.comparison import evaluator_of, open_comparison
from nern_core.analysis.meta_compression import MetaCompression, Point, sweep
from nern_core.analysis.meta_compression.chart import draw_sweep
from nern_core.contract.options import EncodeOptions
from nern_core.encoder import encode


def main() -> None:
    """Encode, unless an encoding is given, then measure, record and draw."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--encoding", type=Path)
    parser.add_argument("--seconds", type=float, default=150)
    parser.add_argument("--images", type=int, default=10000)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        encoding = arguments.encoding or encode_resnet20(Path(folder) / "r20.nern", arguments.seconds)
        result = measure(encoding, arguments.images)
    record = {"machine": describe_machine()} | result.model_dump(mode="json")
    (RESULTS / "meta_compression.json").write_text(json.dumps(record, indent=2) + "\n")
    (HERE.parent / "docs" / "meta-compression.svg").write_text(draw_sweep(result), encoding="utf-8")
    print("\n".join(result.verdicts))


def encode_resnet20(encoding: Path, seconds: float) -> Path:
    """Encode as for the README's table."""
    options = EncodeOptions(architecture="cifar-resnet20", dataset=str(DATASET), hidden_size=160, seconds=seconds)
    encode(checkpoint_of(20), encoding, options)
    return encoding


def measure(encoding: Path, images: int) -> MetaCompression:
    """Run the sweep and print each point."""
    comparison = open_comparison(checkpoint_of(20), encoding)

    def show(point: Point) -> None:
        name = f"{point.subject} {point.method} {point.setting:g}"
        print(f"{name:>30}: {point.bytes:>9,} bytes, {point.accuracy:.2f} %", flush=True)

    return sweep(comparison, evaluator_of(comparison.encoding, None, DATASET, images=images), show)


if __name__ == "__main__":
    main()
