"""Files of earlier versions decode to the same weights as then; `scripts/write_golden_files.py` wrote them."""

from pathlib import Path

import pytest
import safetensors.torch
import torch

from nern_core.decoder import decode
from nern_core.representations.files import read_encoding
from scripts.write_golden_files import OPTIONS
from tests.conftest import ROOT

GOLDEN = sorted((ROOT / "tests" / "golden").glob("*.nern"))
# Float64 sums may have another order on another processor, which changes the rounded result by at most one place.
ROUNDING = {torch.float64: 1e-12, torch.float32: 2**-23, torch.float16: 2**-10, torch.bfloat16: 2**-7}


def test_there_are_golden_files_of_the_present_format() -> None:
    assert OPTIONS.keys() <= {path.stem for path in GOLDEN}


@pytest.mark.parametrize("path", GOLDEN, ids=lambda path: path.stem)
def test_a_golden_file_decodes_to_the_weights_of_its_time(path: Path) -> None:
    expected, found = safetensors.torch.load_file(path.with_suffix(".safetensors")), decode(path).tensors
    assert found.keys() == expected.keys()
    for name, tensor in expected.items():
        assert (found[name].dtype, found[name].shape) == (tensor.dtype, tensor.shape)
        if tensor.is_floating_point():
            torch.testing.assert_close(found[name], tensor, rtol=ROUNDING[tensor.dtype], atol=1e-12)
        else:
            assert torch.equal(found[name], tensor)


@pytest.mark.parametrize("path", [p for p in GOLDEN if "quantized" in p.stem], ids=lambda path: path.stem)
def test_quantized_weights_are_the_same_bits_everywhere(path: Path) -> None:
    expected, found = safetensors.torch.load_file(path.with_suffix(".safetensors")), decode(path).tensors
    assert all(torch.equal(found[name], tensor) for name, tensor in expected.items())


@pytest.mark.parametrize("path", GOLDEN, ids=lambda path: path.stem)
def test_a_golden_file_says_what_it_is_made_from(path: Path) -> None:
    document = read_encoding(path).document
    assert document.tied == {"head.weight": "embed.weight"}
    assert document.source.bytes == (path.parent / "source.safetensors").stat().st_size
