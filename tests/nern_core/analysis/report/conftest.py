from pathlib import Path

import pytest
import safetensors.torch
import torch

from nern_core.contract.options import EncodeOptions
from nern_core.contract.report import Report
from nern_core.encoder import encode
from tests.conftest import DIGITS, EXAMPLE


@pytest.fixture(scope="session")
def digits(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Report]:
    """The example, encoded in a few steps with data: the .nern file and its report."""
    encoding = tmp_path_factory.mktemp("digits") / "digits.nern"
    options = EncodeOptions(architecture="digits-cnn", dataset=str(DIGITS), hidden_size=16, steps=20)
    return encoding, encode(EXAMPLE, encoding, options).report


@pytest.fixture(scope="session")
def odd_shapes(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A checkpoint with kernels of one to three axes and a matrix under a hostile name, and its encoding."""
    folder = tmp_path_factory.mktemp("odd")
    generator = torch.Generator().manual_seed(0)
    tensors = {
        "a.plane": torch.randn(6, 5, 3, 3, generator=generator),
        "b.line": torch.randn(12, 6, 5, generator=generator),
        "c.volume": torch.randn(4, 4, 3, 3, 3, generator=generator),
        '<script>alert("d")</script>': torch.randn(40, 33, generator=generator),
        "e.bias": torch.randn(6, generator=generator),
    }
    checkpoint, encoding = folder / "odd.safetensors", folder / "odd.nern"
    safetensors.torch.save_file(tensors, checkpoint)
    patterns = ("a.plane", "b.line", "c.volume", "<script>*")
    encode(checkpoint, encoding, EncodeOptions(kernels=patterns, hidden_size=8, steps=3))
    return checkpoint, encoding
