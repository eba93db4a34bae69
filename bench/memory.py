"""Memory of encoding and decoding: the largest resident set of a separate process, including torch.

python -m bench.memory writes bench/results/memory.json. ResNet20 is the public one; ResNet18 and ResNet50 have
torchvision's random weights, because only their number matters here, and few steps, because all steps take the same
memory. Decoding with the default predictor size of the large networks takes minutes, so they get a small predictor.
"""

import argparse
import json
import re
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from bench.assets import DATASET, HERE, RESULTS, checkpoint_of
from bench.machine import describe_machine
from bench.random_networks import random_checkpoint
from nern_core.contract.options import EncodeOptions
from nern_core.decoder import decode
from nern_core.encoder import encode

_MEBIBYTE_IN_KIBIBYTES = 2**10


def main() -> None:
    """Measure and record; with a file to write, run as the measured process."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--encode", nargs=3, metavar=("CHECKPOINT", "ENCODING", "OPTIONS"), help=argparse.SUPPRESS)
    parser.add_argument("--decode", metavar="ENCODING", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.encode:
        checkpoint, encoding, options = arguments.encode
        encode(Path(checkpoint), Path(encoding), EncodeOptions.model_validate_json(options))
        print(_peak_memory())
    elif arguments.decode:
        decode(Path(arguments.decode))
        print(_peak_memory())
    else:
        measure()


def measure() -> None:
    """Run each case in separate processes."""
    runs: dict[str, Any] = {}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for label, (checkpoint, options) in _cases(folder).items():
            encoding = folder / "x.nern"
            runs[label] = {
                "checkpoint_bytes": checkpoint.stat().st_size,
                "encode_mebibytes": _run("--encode", checkpoint, encoding, options.model_dump_json()),
                "decode_mebibytes": _run("--decode", encoding),
            }
            print(label, json.dumps(runs[label]), flush=True)
    result = {"machine": describe_machine(), "runs": runs}
    (RESULTS / "memory.json").write_text(json.dumps(result, indent=2) + "\n")


def _cases(folder: Path) -> dict[str, tuple[Path, EncodeOptions]]:
    cifar: dict[str, Any] = {"architecture": "cifar-resnet20", "dataset": str(DATASET), "steps": 30}
    resnet18, resnet50 = (random_checkpoint(folder, name) for name in ("resnet18", "resnet50"))
    return {
        "ResNet20, predictor of hidden size 160": (
            checkpoint_of(20),
            EncodeOptions(hidden_size=160, **cifar),
        ),
        "ResNet20, 73 KB": (checkpoint_of(20), EncodeOptions(target_bytes=73_000, **cifar)),
        "ResNet18, predictor of hidden size 64": (resnet18, EncodeOptions(hidden_size=64, steps=10)),
        "ResNet18, a twelfth": (resnet18, EncodeOptions(target_ratio=12)),
        "ResNet50, predictor of hidden size 64": (
            resnet50,
            EncodeOptions(hidden_size=64, steps=10, architecture="torchvision:resnet50"),
        ),
        "ResNet50, a twelfth": (resnet50, EncodeOptions(target_ratio=12)),
    }


def _run(*arguments: str | Path) -> int:
    """Run a child process and return its peak memory in MiB."""
    command = [sys.executable, "-m", "bench.memory", *map(str, arguments)]
    answer = subprocess.run(command, check=True, cwd=HERE.parent, capture_output=True, text=True)
    return round(int(answer.stdout.split()[-1]) / _MEBIBYTE_IN_KIBIBYTES)


def _peak_memory() -> int:
    """Return the largest resident set of this process in KiB."""
    # Not getrusage: its figure starts with that of the parent process.
    found = re.search(r"VmHWM:\s*(\d+) kB", Path("/proc/self/status").read_text())
    assert found is not None
    return int(found[1])


if __name__ == "__main__":
    main()
