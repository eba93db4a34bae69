import json
from pathlib import Path
from typing import Any

import pytest
import torch

from nern_core.contract.errors import NernError
from nern_core.formats.checkpoint_format import CheckpointFormat
from nern_core.formats.checkpoint_structure import read_structure, refuse_without_kernels
from nern_core.formats.tensor_claims import TensorClaim
from nern_core.tensors.checkpoint import Checkpoint, write_checkpoint

CONV = {"dtype": "F32", "shape": [2, 1, 2, 2], "data_offsets": [0, 32]}
KERNELS = {"dtype": "F32", "shape": [16, 16, 2, 2], "data_offsets": [0, 4096]}


def safetensors(path: Path, header: Any, data: bytes = bytes(32)) -> Path:
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    path.write_bytes(len(text).to_bytes(8, "little") + text + data)
    return path


def test_tells_names_shapes_and_dtypes_of_a_safetensors_file(tmp_path: Path) -> None:
    tensors = {"conv.weight": torch.ones(2, 3, 3, 3, dtype=torch.bfloat16), "steps": torch.tensor(7)}
    write_checkpoint(Checkpoint(tensors), tmp_path / "w.safetensors")
    structure = read_structure(tmp_path / "w.safetensors")
    assert structure.format is CheckpointFormat.SAFETENSORS
    assert {name: (claim.dtype, claim.shape) for name, claim in structure.tensors.items()} == {
        "conv.weight": ("BF16", (2, 3, 3, 3)),
        "steps": ("I64", ()),
    }


@pytest.mark.parametrize(
    ("zipped", "expected"), [(True, CheckpointFormat.TORCH_ZIP), (False, CheckpointFormat.TORCH_LEGACY)]
)
def test_knows_both_torch_formats(tmp_path: Path, zipped: bool, expected: CheckpointFormat) -> None:
    torch.save({"w": torch.ones(1)}, tmp_path / "w.pt", _use_new_zipfile_serialization=zipped)
    assert read_structure(tmp_path / "w.pt").format is expected


@pytest.mark.parametrize("zipped", [True, False])
def test_tells_names_shapes_and_dtypes_of_a_torch_file(tmp_path: Path, zipped: bool) -> None:
    tensors = {"module.conv.weight": torch.ones(2, 3, 3, 3).half(), "module.steps": torch.tensor(7)}
    content = {"state_dict": tensors, "epoch": 3}
    torch.save(content, tmp_path / "w.pt", _use_new_zipfile_serialization=zipped)
    assert read_structure(tmp_path / "w.pt").tensors == {
        "module.conv.weight": TensorClaim("F16", (2, 3, 3, 3)),
        "module.steps": TensorClaim("I64", ()),
    }


@pytest.mark.parametrize("zipped", [True, False])
def test_a_torch_file_without_kernels_is_refused_unread(tmp_path: Path, zipped: bool) -> None:
    torch.save({"fc.weight": torch.ones(4, 4)}, tmp_path / "w.pt", _use_new_zipfile_serialization=zipped)
    with pytest.raises(NernError) as error:
        refuse_without_kernels(read_structure(tmp_path / "w.pt"), ["spatial"], None)
    assert error.value.code == "no_kernels"


@pytest.mark.parametrize(
    ("header", "data", "sentence"),
    [
        ({"w": CONV}, bytes(31), "31 bytes of data, but its header declares 32"),
        ({"w": CONV}, bytes(33), "33 bytes of data, but its header declares 32"),
        ({"w": CONV | {"data_offsets": [4, 36]}}, bytes(36), "overlap or leave gaps"),
        ({"w": CONV | {"data_offsets": [4, 32]}}, bytes(32), "'w' has 28 bytes instead of 32"),
        ({"w": CONV | {"data_offsets": [0, -1]}}, bytes(32), "not a table of tensors"),
        ({"w": CONV | {"more": 1}}, bytes(32), "not a table of tensors"),
        ({"w": 1}, bytes(32), "not a table of tensors"),
        (b"{" + b"[" * 100_000, bytes(32), "not a table of tensors"),
        (b"{\xff}", bytes(32), "not a table of tensors"),
        (b"{}", b"", None),
    ],
)
def test_a_damaged_header_is_explained(tmp_path: Path, header: Any, data: bytes, sentence: str | None) -> None:
    path = safetensors(tmp_path / "w", header, data)
    if sentence is None:
        assert read_structure(path).tensors == {}
        return
    with pytest.raises(NernError, match=sentence) as error:
        read_structure(path)
    assert error.value.code == "unreadable_checkpoint"


def test_a_header_longer_than_the_file_is_refused_unread(tmp_path: Path) -> None:
    (tmp_path / "w").write_bytes((2**60).to_bytes(8, "little") + b"{}")
    with pytest.raises(NernError, match="longer than the file"):
        read_structure(tmp_path / "w")


@pytest.mark.parametrize("content", [b"x", b"%PDF-1.7 and so on", b"\x80\x02}q\x00."])
def test_other_files_are_no_checkpoints(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "w").write_bytes(content)
    with pytest.raises(NernError) as error:
        read_structure(tmp_path / "w")
    assert error.value.code == "not_a_checkpoint"


@pytest.mark.parametrize(
    ("claim", "refused"),
    [
        (KERNELS, False),
        (KERNELS | {"shape": [32, 32, 1, 1]}, True),
        (KERNELS | {"shape": [32, 32]}, True),
        (KERNELS | {"dtype": "I32"}, True),
    ],
)
def test_only_floating_point_convolutions_are_kernels(tmp_path: Path, claim: dict[str, Any], refused: bool) -> None:
    structure = read_structure(safetensors(tmp_path / "w", {"w": claim}, bytes(4096)))
    if not refused:
        refuse_without_kernels(structure, ["spatial"], None)
        return
    with pytest.raises(NernError) as error:
        refuse_without_kernels(structure, ["spatial"], None)
    assert error.value.code == "no_kernels"


def test_the_policy_decides_what_is_enough(tmp_path: Path) -> None:
    matrix = KERNELS | {"shape": [32, 32]}
    structure = read_structure(safetensors(tmp_path / "w", {"module.fc": matrix}, bytes(4096)))
    refuse_without_kernels(structure, ["all"], None)
    refuse_without_kernels(structure, ["fc"], None)
    with pytest.raises(NernError, match="'conv'") as error:
        refuse_without_kernels(structure, ["conv"], None)
    assert error.value.code == "unmatched_pattern"
