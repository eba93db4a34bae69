from pathlib import Path

import numpy as np
import pytest
import torch

from nern_core.networks import find_architecture
from nern_core.tensors.checkpoint import Checkpoint, write_checkpoint


@pytest.fixture
def digits_checkpoint(tmp_path: Path) -> Path:
    """A digits CNN with fresh weights."""
    torch.manual_seed(0)
    network = find_architecture("digits-cnn").build(10)
    path = tmp_path / "digits.safetensors"
    write_checkpoint(Checkpoint(network.state_dict()), path)
    return path


@pytest.fixture
def random_dataset(tmp_path: Path) -> Path:
    """A dataset folder of random 8x8 images with 10 classes."""
    folder = tmp_path / "dataset"
    folder.mkdir()
    generator = np.random.default_rng(0)
    for split, count in (("train", 80), ("test", 50)):
        np.savez(
            folder / f"{split}.npz",
            images=generator.integers(0, 256, (count, 8, 8, 3), dtype=np.uint8),
            labels=generator.integers(0, 10, count).astype(np.uint8),
        )
    return folder
