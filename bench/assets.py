"""Paths of the public checkpoints and the data set, in `NERN_TEST_ASSETS` or by default `../shared`."""

import os
from pathlib import Path

HERE = Path(__file__).parent
RESULTS = HERE / "results"
EXAMPLES = HERE.parent / "examples"
ASSETS = Path(os.environ.get("NERN_TEST_ASSETS", HERE.parent.parent / "shared"))
DATASET = ASSETS / "data" / "cifar10"
# By depth: duration of a training step relative to the ResNet20.
SECONDS_FACTOR = {20: 1.0, 56: 3.0}


def checkpoint_of(depth: int) -> Path:
    """Return the path of the public CIFAR-10 ResNet of this depth: 20 or 56."""
    return ASSETS / "checkpoints" / f"cifar10-resnet{depth}.th"
