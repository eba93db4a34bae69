import os
import sys
from pathlib import Path

import pytest
import torch

from nern_core.analysis.baselines import code_as_small, code_with_nncodec
from nern_core.contract.errors import NernError
from nern_core.tensors.checkpoint import read_checkpoint
from tests.conftest import EXAMPLE, ROOT, RealCheckpoints


@pytest.fixture(scope="session")
def interpreter() -> Path:
    """The Python of an environment with NNCodec; without one, the test is skipped."""
    named = Path(os.environ.get("NERN_NNCODEC_PYTHON", ROOT / ".nncodec" / "bin" / "python"))
    if not named.is_file():
        pytest.skip("there is no environment with NNCodec: `make nncodec` makes one, or NERN_NNCODEC_PYTHON names it")
    return named


@pytest.mark.slow
def test_what_comes_back_has_the_names_shapes_and_dtypes(interpreter: Path) -> None:
    tensors = read_checkpoint(EXAMPLE).tensors | {"half": torch.randn(8, 8).half(), "count": torch.tensor([3, 4])}
    coded = code_with_nncodec(tensors, interpreter, -20)
    assert coded.name == "NNCodec qp -20"
    assert list(coded.tensors) == list(tensors)
    for name, tensor in tensors.items():
        assert (coded.tensors[name].shape, coded.tensors[name].dtype) == (tensor.shape, tensor.dtype)
    assert torch.equal(coded.tensors["count"], tensors["count"])
    error = (coded.tensors["features.3.weight"] - tensors["features.3.weight"]).norm()
    assert 0 < error < 0.2 * tensors["features.3.weight"].norm()


@pytest.mark.slow
def test_a_public_network_takes_the_published_bytes(interpreter: Path, real: RealCheckpoints) -> None:
    tensors = read_checkpoint(real.checkpoints / "cifar10-resnet20.th").tensors
    assert code_with_nncodec(tensors, interpreter, -24).bytes == pytest.approx(128_829, rel=0.002)


@pytest.mark.slow
def test_the_finest_setting_that_fits_is_taken(interpreter: Path) -> None:
    tensors = read_checkpoint(EXAMPLE).tensors
    fitting = code_as_small(tensors, interpreter, 20_000)
    parameter = int(fitting.name.removeprefix("NNCodec qp "))
    assert fitting.bytes <= 20_000 < code_with_nncodec(tensors, interpreter, parameter - 1).bytes


def test_without_an_interpreter_one_sentence_says_so(tmp_path: Path) -> None:
    with pytest.raises(NernError, match=r"'.*/python' cannot be run: No such file or directory\.") as caught:
        code_as_small(read_checkpoint(EXAMPLE).tensors, tmp_path / "python", 1000)
    assert caught.value.code == "no_nncodec"


def test_an_environment_without_nncodec_is_told_by_its_own_words() -> None:
    with pytest.raises(NernError, match=r"NNCodec failed: ModuleNotFoundError: No module named 'nncodec'"):
        code_as_small(read_checkpoint(EXAMPLE).tensors, Path(sys.executable), 1000)
