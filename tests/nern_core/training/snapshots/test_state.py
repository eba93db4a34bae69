from pathlib import Path
from typing import Any

import pytest
import torch

from nern_core.training.snapshots.state import UnreadableStateError, read_state, write_state


def same(first: Any, second: Any) -> bool:
    if isinstance(first, torch.Tensor):
        return first.dtype == second.dtype and torch.equal(first, second)
    if isinstance(first, dict):
        return list(first) == list(second) and all(same(first[key], second[key]) for key in first)
    if isinstance(first, list | tuple):
        return type(first) is type(second) and all(same(a, b) for a, b in zip(first, second, strict=True))
    return type(first) is type(second) and first == second


STATE: dict[Any, Any] = {
    "numbers": [1, 0.1 + 0.2, True, None, "name", float("inf")],
    "tensors": (torch.randn(3, 4), torch.tensor(7.0), torch.empty(0, dtype=torch.int64), torch.ones(2).bool()),
    0: {"momentum": torch.randn(2, 2).double()},
    1: [],
    "structure": {},
    "list": {"list": [], "tensor": 3},
}


def test_what_is_written_is_read_back_exactly(tmp_path: Path) -> None:
    write_state(STATE, tmp_path / "x")
    assert same(read_state(tmp_path / "x"), STATE)


def test_the_same_tensor_twice_is_two_tensors_afterwards(tmp_path: Path) -> None:
    tensor = torch.randn(5)
    write_state([tensor, tensor[:3]], tmp_path / "x")
    first, second = read_state(tmp_path / "x")
    first.zero_()
    assert torch.equal(second, tensor[:3])


def test_other_things_are_no_state(tmp_path: Path) -> None:
    with pytest.raises(TypeError, match="cannot hold a set"):
        write_state({"a": {1, 2}}, tmp_path / "x")


@pytest.mark.parametrize("content", [b"", b"nonsense", b"\x00" * 100])
def test_a_damaged_file_is_said_to_be_one(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "x").write_bytes(content)
    with pytest.raises(UnreadableStateError):
        read_state(tmp_path / "x")


def test_a_file_that_was_cut_short_is_said_to_be_damaged(tmp_path: Path) -> None:
    write_state(STATE, tmp_path / "x")
    whole = (tmp_path / "x").read_bytes()
    for length in range(0, len(whole), 37):
        (tmp_path / "x").write_bytes(whole[:length])
        with pytest.raises(UnreadableStateError):
            read_state(tmp_path / "x")
