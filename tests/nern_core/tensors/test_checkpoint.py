import re
from pathlib import Path

import pytest
import torch

from nern_core.contract.errors import NernError
from nern_core.tensors.checkpoint import Checkpoint, find_tied, read_checkpoint, write_checkpoint
from tests.conftest import ROOT


def tensors() -> dict[str, torch.Tensor]:
    return {
        "conv.weight": torch.arange(36.0).reshape(2, 2, 3, 3),
        "bn.num_batches_tracked": torch.tensor(7),
        "fc.bias": torch.tensor([0.5, -0.5], dtype=torch.float16),
    }


def assert_same(found: dict[str, torch.Tensor], expected: dict[str, torch.Tensor]) -> None:
    assert set(found) == set(expected)
    for name, tensor in expected.items():
        assert found[name].dtype == tensor.dtype
        assert torch.equal(found[name], tensor)


@pytest.mark.parametrize("name", ["weights.safetensors", "weights.pt", "weights.pth", "weights.th"])
def test_writes_and_reads_every_format_exactly(tmp_path: Path, name: str) -> None:
    write_checkpoint(Checkpoint(tensors()), tmp_path / name)
    assert_same(read_checkpoint(tmp_path / name).tensors, tensors())


def test_reads_the_legacy_torch_format(tmp_path: Path) -> None:
    torch.save(tensors(), tmp_path / "old.th", _use_new_zipfile_serialization=False)
    assert_same(read_checkpoint(tmp_path / "old.th").tensors, tensors())


def test_unwraps_what_training_scripts_put_around_the_weights(tmp_path: Path) -> None:
    wrapped = {"epoch": 3, "best_prec1": 91.7, "state_dict": {f"module.{n}": t for n, t in tensors().items()}}
    torch.save(wrapped, tmp_path / "messy.pt")
    assert_same(read_checkpoint(tmp_path / "messy.pt").tensors, tensors())


def test_keeps_the_order_of_a_torch_file(tmp_path: Path) -> None:
    torch.save({"b": torch.ones(1), "a": torch.ones(1)}, tmp_path / "w.pt")
    assert list(read_checkpoint(tmp_path / "w.pt").tensors) == ["b", "a"]


def test_orders_a_safetensors_file_naturally(tmp_path: Path) -> None:
    names = ["layer10.w", "layer2.w", "layer1.w"]
    write_checkpoint(Checkpoint({name: torch.ones(1) for name in names}), tmp_path / "w.safetensors")
    assert list(read_checkpoint(tmp_path / "w.safetensors").tensors) == ["layer1.w", "layer2.w", "layer10.w"]


def test_makes_views_contiguous(tmp_path: Path) -> None:
    torch.save({"w": torch.arange(6.0).reshape(2, 3).T}, tmp_path / "w.pt")
    tensor = read_checkpoint(tmp_path / "w.pt").tensors["w"]
    assert tensor.is_contiguous()
    assert torch.equal(tensor, torch.tensor([[0.0, 3.0], [1.0, 4.0], [2.0, 5.0]]))


def test_keeps_values_that_are_not_finite(tmp_path: Path) -> None:
    mask = torch.tensor([1.0, float("-inf"), float("nan")])
    torch.save({"mask": mask}, tmp_path / "w.pt")
    assert torch.equal(read_checkpoint(tmp_path / "w.pt").tensors["mask"].view(torch.int32), mask.view(torch.int32))


def test_digits_that_are_no_numbers_are_letters_of_a_name(tmp_path: Path) -> None:
    names = ["1²", "layer²", "layer10", "layer2"]
    write_checkpoint(Checkpoint({name: torch.ones(1) for name in names}), tmp_path / "w.safetensors")
    assert sorted(read_checkpoint(tmp_path / "w.safetensors").tensors) == sorted(names)


@pytest.mark.parametrize(
    ("content", "code"),
    [
        (b"not a checkpoint", "not_a_checkpoint"),
        (b"\x80\x02", "not_a_checkpoint"),
        (b"PK\x03\x04 cut", "unreadable_checkpoint"),
        (b"\x80\x02\x8a\x0a\x6c\xfc\x9c\x46\xf9\x20\x6a\xa8\x50\x19.", "unreadable_checkpoint"),
    ],
)
def test_refuses_other_files_in_one_sentence(tmp_path: Path, content: bytes, code: str) -> None:
    (tmp_path / "w.pt").write_bytes(content)
    with pytest.raises(NernError) as error:
        read_checkpoint(tmp_path / "w.pt")
    assert error.value.code == code


def test_refuses_an_empty_file(tmp_path: Path) -> None:
    (tmp_path / "w.pt").touch()
    with pytest.raises(NernError) as error:
        read_checkpoint(tmp_path / "w.pt")
    assert error.value.code == "empty_checkpoint"


def test_refuses_a_damaged_safetensors_file(tmp_path: Path) -> None:
    write_checkpoint(Checkpoint(tensors()), tmp_path / "w.safetensors")
    whole = (tmp_path / "w.safetensors").read_bytes()
    (tmp_path / "w.safetensors").write_bytes(whole[:-10])
    with pytest.raises(NernError) as error:
        read_checkpoint(tmp_path / "w.safetensors")
    assert error.value.code == "unreadable_checkpoint"


@pytest.mark.parametrize("content", [{"epoch": 3}, [torch.ones(1)]])
def test_refuses_a_file_without_named_tensors(tmp_path: Path, content: object) -> None:
    torch.save(content, tmp_path / "w.pt")
    with pytest.raises(NernError) as error:
        read_checkpoint(tmp_path / "w.pt")
    assert error.value.code == "no_tensors"


def test_refuses_tensors_that_are_not_dense(tmp_path: Path) -> None:
    torch.save({"w": torch.eye(3).to_sparse()}, tmp_path / "w.pt")
    with pytest.raises(NernError, match="'w' is sparse") as error:
        read_checkpoint(tmp_path / "w.pt")
    assert error.value.code == "unsupported_tensor"


@pytest.mark.parametrize("suffix", [".pt", ".safetensors"])
def test_tensors_that_share_memory_or_have_strides_are_written_as_they_look(tmp_path: Path, suffix: str) -> None:
    shared = torch.randn(6, 4)
    given = {"a": shared, "again": shared, "turned": shared.T, "part": shared[::2, 1:3]}
    write_checkpoint(Checkpoint(given), tmp_path / f"w{suffix}")
    found = read_checkpoint(tmp_path / f"w{suffix}").tensors
    assert all(torch.equal(found[name], tensor) and found[name].is_contiguous() for name, tensor in given.items())
    assert len({tensor.data_ptr() for tensor in found.values()}) == len(given)


def test_a_byte_of_a_bool_is_true_or_false(tmp_path: Path) -> None:
    torch.save({"w": torch.tensor([True, False, True])}, tmp_path / "w.pt")
    changed = (tmp_path / "w.pt").read_bytes().replace(b"\x01\x00\x01", b"\x02\x00\x01")
    (tmp_path / "w.pt").write_bytes(changed)
    assert read_checkpoint(tmp_path / "w.pt").tensors["w"].view(torch.uint8).tolist() == [1, 0, 1]


def test_nothing_in_the_product_loads_what_could_run() -> None:
    loaders = r"\btorch\.(jit\.|export\.)?load\(|pickle\.loads?\b|Unpickler|weights_only=False|allow_pickle=True"
    packages = ("app", "worker", "nern_core", "nern_cli", "migrations")
    sources = [path for package in packages for path in (ROOT / package).rglob("*.py")]
    assert len(sources) > 50
    assert [path for path in sources if re.search(loaders, path.read_text())] == []


def test_finds_tensors_that_repeat_an_earlier_one_bit_for_bit() -> None:
    values = torch.arange(64.0)
    found = find_tied(
        {
            "first": values,
            "again": values.clone(),
            "half": values.half(),
            "shape": values.reshape(8, 8).clone(),
            "half_again": values.half(),
            "almost": values + torch.eye(64)[5] * 1e-5,
            "zero": torch.zeros(64),
            "minus_zero": -torch.zeros(64),
            "short": values[:63].clone(),
            "short_again": values[:63].clone(),
        }
    )
    assert found == {"again": "first", "half_again": "half"}


def test_refuses_to_write_an_unknown_suffix(tmp_path: Path) -> None:
    with pytest.raises(NernError) as error:
        write_checkpoint(Checkpoint(tensors()), tmp_path / "weights.gguf")
    assert error.value.code == "unknown_format"
