"""Files are decoded with NumPy alone, to the same bits as with torch."""

import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from torch import nn

from nern_core.array_decoder import decode_arrays
from nern_core.contract.errors import NernError
from nern_core.contract.options import EncodeOptions
from nern_core.decoder import decode
from nern_core.encoder import encode
from nern_core.tensors.checkpoint import Checkpoint, write_checkpoint
from tests.conftest import DIGITS, EXAMPLE, ROOT

GOLDEN = ROOT / "tests/golden"


def encoded(checkpoint: Path | nn.Module, folder: Path, **options: object) -> Path:
    encode(checkpoint, folder / "x.nern", EncodeOptions.model_validate({"tier": "instant"} | options))
    return folder / "x.nern"


def assert_same_bits(encoding: Path, folder: Path) -> None:
    """Compare the written arrays, and their names and types, with the tensors that torch decodes."""
    expected = decode(encoding).named_as_in_file()
    decoded = decode_arrays(encoding)
    assert list(decoded.arrays) == list(expected)
    assert [f"torch.{dtype}" for dtype in decoded.dtypes.values()] == [str(t.dtype) for t in expected.values()]
    decoded.write_safetensors(folder / "arrays.safetensors")
    written = load_file(folder / "arrays.safetensors")
    for name, tensor in expected.items():
        assert (written[name].dtype, written[name].shape) == (tensor.dtype, tensor.shape)
        assert written[name].flatten().view(torch.uint8).tolist() == tensor.flatten().view(torch.uint8).tolist(), name


def test_the_example_decodes_to_the_same_bits_with_rounded_vectors(tmp_path: Path) -> None:
    data = {"architecture": "digits-cnn", "dataset": str(DIGITS)}
    assert_same_bits(encoded(EXAMPLE, tmp_path, target_bytes=9000, **data), tmp_path)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_every_type_of_weights_decodes_to_the_same_bits(dtype: torch.dtype, tmp_path: Path) -> None:
    torch.manual_seed(0)
    tensors = {
        "conv.weight": torch.randn(24, 16, 3, 3).to(dtype),
        "linear.weight": torch.randn(40, 50).to(dtype),
        "linear.tied": torch.zeros(1),
        "bias": torch.randn(24).to(dtype),
        "zeros": torch.zeros(7, dtype=dtype),
        "count": torch.tensor(3),
        "flags": torch.tensor([True, False]),
        "empty": torch.empty(0, 3),
        "scalar": torch.tensor(0.5),
        "bytes": torch.arange(5, dtype=torch.uint8),
    }
    tensors["linear.tied"] = tensors["linear.weight"]
    write_checkpoint(Checkpoint(tensors), tmp_path / "c.pt")
    assert_same_bits(encoded(tmp_path / "c.pt", tmp_path, target_ratio=6), tmp_path)


def test_arrays_of_bfloat16_hold_the_bits(tmp_path: Path) -> None:
    tensors = {"w": torch.randn(32, 32, 3, 3), "v": torch.tensor([1.0, -2.5, 3.0]).bfloat16()}
    write_checkpoint(Checkpoint(tensors), tmp_path / "c.safetensors")
    decoded = decode_arrays(encoded(tmp_path / "c.safetensors", tmp_path, target_ratio=6))
    assert decoded.dtypes["v"] == "bfloat16"
    assert decoded.arrays["v"].dtype == "uint16"
    assert decoded.arrays["v"].tolist() == [0x3F80, 0xC020, 0x4040]


def test_other_files_need_the_extra_encode(tmp_path: Path) -> None:
    encoding = encoded(EXAMPLE, tmp_path, representation="predictor", hidden_size=16, tier=None, steps=2)
    with pytest.raises(NernError, match=r"pip install 'nern\[encode\]'") as error:
        decode_arrays(encoding)
    assert error.value.code == "missing_extra"


def test_a_damaged_file_is_refused(tmp_path: Path) -> None:
    encoding = encoded(EXAMPLE, tmp_path, target_ratio=8)
    data = bytearray(encoding.read_bytes())
    data[len(data) // 2] ^= 1
    encoding.write_bytes(data)
    with pytest.raises(NernError, match="damaged"):
        decode_arrays(encoding)


WITHOUT_TORCH = """
import sys
from importlib.abc import MetaPathFinder

class Missing(MetaPathFinder):
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in {"torch", "safetensors", "numba", "constriction", "matplotlib"}:
            raise ModuleNotFoundError(name, name=name)

sys.meta_path.insert(0, Missing())
import nern_core
nern_core.decode_arrays(sys.argv[1]).write_safetensors(__import__("pathlib").Path(sys.argv[2]))
assert "torch" not in sys.modules
"""


def test_neither_torch_nor_numba_is_loaded(tmp_path: Path) -> None:
    encoding, output = encoded(EXAMPLE, tmp_path, target_ratio=8), tmp_path / "out.safetensors"
    subprocess.run([sys.executable, "-c", WITHOUT_TORCH, encoding, output], check=True)
    assert load_file(output).keys() == decode(encoding).tensors.keys()
