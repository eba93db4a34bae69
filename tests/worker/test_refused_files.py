"""Files that the runner refuses, each with one sentence. It runs in this process, without its sandbox."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from nern_core.contract.options import EncodeOptions
from nern_core.tensors.checkpoint import read_checkpoint
from tests.conftest import EXAMPLE, ROOT
from tests.dataset_files import SMALL, safetensors_file
from tests.encoding_files import changed
from tests.worker.in_process import RunHere
from worker.folder import RunFolder
from worker.runner import FAILED

GOLDEN = sorted((ROOT / "tests" / "golden").glob("*.nern"))


class Refusing:
    """Runs the runner in this process on files that it refuses."""

    def __init__(self, folder: RunFolder, run_here: RunHere) -> None:
        self.folder = folder
        self._run_here = run_here
        folder.make()

    def error_of(self, options: EncodeOptions | None) -> tuple[str, str]:
        """Return code and message of the error that a run ends with, as its last line."""
        ended = self._run_here(options)
        assert ended.status == FAILED
        code, message = ended.error["code"], ended.error["message"]
        assert message.endswith(".")
        assert "\n" not in message
        return code, message


@pytest.fixture
def refusing(tmp_path: Path, run_here: RunHere) -> Refusing:
    return Refusing(RunFolder(tmp_path), run_here)


CONV = {"conv.weight": torch.ones(8, 4, 3, 3)}
CIFAR = {"features.0.weight": torch.ones(32, 3, 5, 5)}


@pytest.mark.parametrize(
    ("content", "options", "code", "sentence"),
    [
        ({"fc.bias": torch.ones(4)}, {}, "no_kernels", "no floating-point tensor of two or more axes"),
        ({"conv.weight": torch.full((4, 3, 3, 3), float("nan"))}, {}, "non_finite", "'conv.weight' has 108 NaN"),
        ({"epoch": 3}, {}, "no_tensors", "holds no named tensors"),
        (CONV, {"architecture": "cifar-resnet20"}, "architecture_mismatch", "it has no tensor 'conv1.weight'"),
        (CONV, {"architecture": "torchvision:nothing"}, "unknown_architecture", "has no network 'nothing'"),
        (
            "cifar",
            {"architecture": "digits-cnn"},
            "architecture_mismatch",
            "tensor 'features.0.weight' has shape (32, 3, 5, 5), not (32, 3, 3, 3)",
        ),
    ],
)
def test_a_checkpoint_that_cannot_be_encoded_is_refused(
    refusing: Refusing, content: Any, options: dict[str, Any], code: str, sentence: str
) -> None:
    tensors = dict(read_checkpoint(EXAMPLE).tensors) | CIFAR if content == "cifar" else content
    torch.save(tensors, refusing.folder.checkpoint)
    found = refusing.error_of(EncodeOptions(**options))
    assert found[0] == code
    assert sentence in found[1]


def test_a_file_that_only_looks_like_a_checkpoint_is_refused(refusing: Refusing) -> None:
    refusing.folder.checkpoint.write_bytes(b"PK\x03\x04 and nothing more")
    assert refusing.error_of(EncodeOptions())[0] == "unreadable_checkpoint"


def test_labels_that_the_network_does_not_know_are_refused(refusing: Refusing) -> None:
    claims = SMALL | {"train.images": ("U8", (3, 8, 8, 3)), "test.images": ("U8", (2, 8, 8, 3))}
    data = bytes(3 * 192 + 3 * 8 + 2 * 192) + (10).to_bytes(8, "little") + (-1).to_bytes(8, "little", signed=True)
    (refusing.folder.datasets / "odd").write_bytes(safetensors_file(claims, data=data))
    refusing.folder.checkpoint.write_bytes(EXAMPLE.read_bytes())
    options = EncodeOptions(architecture="digits-cnn", dataset="odd", steps=1, hidden_size=8)
    assert refusing.error_of(options)[0] == "bad_data"


def of_a_million_filters(contents: dict[str, Any]) -> None:
    """Declare far more weights than a file of this size can have."""
    for kept in contents["kept"]:
        kept["shape"], kept["constant"] = [2**40], 0.0


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        (None, "its document cannot be read"),
        (of_a_million_filters, "bytes of tensors"),
        (lambda contents: contents.update(streams=[]), "declared lengths"),
        (lambda contents: contents["document"]["layers"][0].update(shape=[4]), "of its document are invalid"),
        (
            lambda contents: contents["document"].update(tensor_order=["../../etc/passwd"]),
            "do not match its list of tensors",
        ),
    ],
)
def test_a_hostile_encoding_with_the_right_checksum_is_refused(
    refusing: Refusing, change: Callable[[dict[str, Any]], None] | None, sentence: str
) -> None:
    changed(GOLDEN[-1], refusing.folder.encoding, change)
    code, message = refusing.error_of(None)
    assert code == "bad_encoding"
    assert sentence in message


def test_a_checkpoint_in_place_of_an_encoding_is_refused(refusing: Refusing) -> None:
    refusing.folder.encoding.write_bytes(EXAMPLE.read_bytes())
    assert refusing.error_of(None)[0] == "not_an_encoding"
