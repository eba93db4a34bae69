"""The reader against torch's own: both read the same, tensor for tensor."""

from collections import Counter, OrderedDict
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from nern_core.contract.errors import NernError
from nern_core.tensors.checkpoint import read_checkpoint
from tests.conftest import RealCheckpoints

DTYPES = [
    *(torch.float64, torch.float32, torch.float16, torch.bfloat16, torch.complex64),
    *(torch.int64, torch.int32, torch.int16, torch.int8, torch.uint8, torch.bool),
]
# torch's older format cannot store these.
DTYPES_OF_ZIP_FILES = [*DTYPES, torch.uint16, torch.uint32, torch.uint64, torch.float8_e5m2, torch.float8_e4m3fn]
NAMES = st.text(st.characters(categories=["L", "N"], include_characters="._-/ "), min_size=1, max_size=20)
PLAIN = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**70), 2**70)
    | st.floats()
    | st.text(max_size=5)
    | st.binary(min_size=1, max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.tuples(inner, inner)
        | st.dictionaries(st.text(max_size=5) | st.integers(-9, 9), inner, max_size=3)
    ),
    max_leaves=8,
)


@st.composite
def views(draw: st.DrawFn, dtypes: list[torch.dtype]) -> torch.Tensor:
    """Draw a tensor with any strides, perhaps a parameter."""
    shape = draw(st.lists(st.integers(0, 4), max_size=4))
    bytes_ = torch.randint(0, 100, (*shape, 8), dtype=torch.uint8)
    dtype = draw(st.sampled_from(dtypes))
    tensor = bytes_[..., 0].to(dtype)
    tensor = tensor.permute(draw(st.permutations(range(tensor.dim()))))
    if tensor.dim() and draw(st.booleans()):
        tensor = tensor[:: draw(st.integers(1, 3))]
    if tensor.dim() and draw(st.booleans()):
        tensor = tensor[:1].expand(draw(st.integers(1, 5)), *tensor.shape[1:]) if len(tensor) else tensor
    if tensor.is_floating_point() and tensor.itemsize > 1 and draw(st.booleans()):
        return torch.nn.Parameter(tensor)
    return tensor


@st.composite
def state_dicts(draw: st.DrawFn, dtypes: list[torch.dtype]) -> dict[str, torch.Tensor]:
    """Draw tensors by name; some share memory."""
    tensors = draw(st.dictionaries(NAMES, views(dtypes), min_size=1, max_size=4))
    names = list(tensors)
    if draw(st.booleans()):
        tensors["tied to it"] = tensors[names[0]]
    if draw(st.booleans()):
        tensors["seen otherwise"] = tensors[names[0]].detach().flatten()[:2]
    return OrderedDict(tensors) if draw(st.booleans()) else tensors


@st.composite
def checkpoints(draw: st.DrawFn, dtypes: list[torch.dtype]) -> tuple[dict[str, torch.Tensor], Any]:
    """Draw a state dict, and a checkpoint of a training script around it."""
    state = draw(state_dicts(dtypes))
    wrapper = draw(st.none() | st.sampled_from(["state_dict", "model", "weights"]))
    if wrapper is None:
        return state, state
    around = draw(st.dictionaries(st.sampled_from(["epoch", "best", "optimizer", "args"]), PLAIN))
    return state, around | {wrapper: state, "rng": torch.arange(3)}


def bits(tensor: torch.Tensor) -> list[int]:
    """Return all bytes of the values; equal values may still have different bytes."""
    copy = torch.empty(tensor.shape, dtype=tensor.dtype).copy_(tensor.detach())
    return copy.flatten().view(torch.uint8).tolist()


def assert_reads_as_torch_does(state: dict[str, torch.Tensor], content: Any, path: Path, *, zipped: bool) -> None:
    torch.save(content, path, _use_new_zipfile_serialization=zipped)
    found, expected = read_checkpoint(path).tensors, torch.load(path, weights_only=True)
    for key in ("state_dict", "model", "weights"):
        if content is not state:
            expected = expected.get(key, expected)
    names = [name for name in expected if isinstance(expected[name], torch.Tensor)]
    assert list(found) == names
    for name, tensor in zip(found, (expected[name] for name in names), strict=True):
        assert (found[name].dtype, found[name].shape) == (tensor.dtype, tensor.shape)
        assert found[name].is_contiguous()
        assert bits(found[name]) == bits(tensor)


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(checkpoints(DTYPES_OF_ZIP_FILES))
def test_zip_files_are_read_as_torch_reads_them(
    tmp_path: Path, checkpoint: tuple[dict[str, torch.Tensor], Any]
) -> None:
    assert_reads_as_torch_does(*checkpoint, tmp_path / "w.pt", zipped=True)


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(checkpoints(DTYPES))
def test_older_files_are_read_as_torch_reads_them(
    tmp_path: Path, checkpoint: tuple[dict[str, torch.Tensor], Any]
) -> None:
    assert_reads_as_torch_does(*checkpoint, tmp_path / "w.th", zipped=False)


@pytest.mark.parametrize("zipped", [True, False])
@pytest.mark.parametrize("protocol", [2, 3])
def test_a_whole_training_state_is_read(tmp_path: Path, zipped: bool, protocol: int) -> None:
    network = torch.nn.Sequential(torch.nn.Conv2d(3, 8, 3), torch.nn.BatchNorm2d(8))
    optimizer = torch.optim.Adam(network.parameters())
    scheduler = torch.optim.lr_scheduler.MultiStepLR(optimizer, [30, 60])
    network(torch.ones(1, 3, 4, 4)).sum().backward()
    optimizer.step()
    content = {
        "state_dict": network.state_dict(),
        "optimizer": optimizer.state_dict(),
        "scheduler": scheduler.state_dict(),
        "rng": torch.get_rng_state(),
        "seen": {1, 2},
        "counts": Counter("abc"),
        "key": b"\xff\x00",
        "grid": torch.Size([2, 3]),
        "device": torch.device("cpu"),
        "dtype": torch.float16,
        "z": 1 + 2j,
    }
    torch.save(content, tmp_path / "w.pt", pickle_protocol=protocol, _use_new_zipfile_serialization=zipped)
    found = read_checkpoint(tmp_path / "w.pt").tensors
    assert list(found) == list(network.state_dict())
    assert all(torch.equal(found[name], tensor) for name, tensor in network.state_dict().items())


def test_protocol_4_is_read_too(tmp_path: Path) -> None:
    torch.save({"w": torch.arange(6.0).view(2, 3)}, tmp_path / "w.pt", pickle_protocol=4)
    assert read_checkpoint(tmp_path / "w.pt").tensors["w"].tolist() == [[0, 1, 2], [3, 4, 5]]


def test_public_checkpoints_of_the_older_form_are_read_as_torch_reads_them(real: RealCheckpoints) -> None:
    for name in ("cifar10-resnet20.th", "cifar10-resnet56.th"):
        path = real.checkpoints / name
        found = read_checkpoint(path).tensors
        expected = torch.load(path, map_location="cpu", weights_only=True)["state_dict"]
        assert [f"module.{name}" for name in found] == list(expected)
        assert all(torch.equal(found[name.removeprefix("module.")], tensor) for name, tensor in expected.items())


@pytest.mark.parametrize(
    ("value", "kind"),
    [
        (torch.eye(3).to_sparse(), "sparse"),
        (torch.ones(2, dtype=torch.complex64).conj(), "a conjugate or negated view"),
        (torch.ones(2, dtype=torch.complex128), "of the dtype complex128"),
        (torch.empty(2, device="meta"), "on the device meta"),
    ],
)
def test_a_tensor_of_another_kind_is_refused_by_name(tmp_path: Path, value: torch.Tensor, kind: str) -> None:
    torch.save({"conv.weight": torch.ones(1), "x": value}, tmp_path / "w.pt")
    with pytest.raises(NernError, match=f"Tensor 'x' is .*{kind}") as error:
        read_checkpoint(tmp_path / "w.pt")
    assert error.value.code == "unsupported_tensor"


def test_a_tensor_of_another_kind_outside_of_the_weights_does_not_matter(tmp_path: Path) -> None:
    torch.save({"state_dict": {"w": torch.ones(1)}, "mask": torch.eye(3).to_sparse()}, tmp_path / "w.pt")
    assert list(read_checkpoint(tmp_path / "w.pt").tensors) == ["w"]


def test_what_a_file_needs_to_be_loaded_is_named(tmp_path: Path) -> None:
    torch.save(torch.nn.Linear(2, 2), tmp_path / "w.pt")
    with pytest.raises(NernError, match="needs 'torch.nn.modules.linear.Linear' to be loaded.*state_dict") as error:
        read_checkpoint(tmp_path / "w.pt")
    assert error.value.code == "executable_checkpoint"


# torch does not write its older format with protocol 0.
FORMS = [(protocol, zipped) for protocol in range(6) for zipped in (True, False) if protocol or zipped]


@pytest.mark.parametrize(("protocol", "zipped"), FORMS)
def test_what_a_training_script_saves_beside_its_weights_is_left_behind(
    tmp_path: Path, protocol: int, zipped: bool
) -> None:
    network = torch.nn.Linear(3, 2)
    optimizer = torch.optim.SGD(network.parameters(), 0.1)
    content = {
        "model": network.state_dict(),
        "optimizer": optimizer.state_dict(),
        "scheduler": torch.optim.lr_scheduler.LambdaLR(optimizer, lambda epoch: 1.0).state_dict(),
        "whole optimizer": optimizer,
        "criterion": torch.nn.CrossEntropyLoss(),
        "random": [torch.get_rng_state(), np.random.get_state()],  # noqa: NPY002 # what scripts save
        "best": np.float64(0.9),
    }
    torch.save(content, tmp_path / "w.pt", pickle_protocol=protocol, _use_new_zipfile_serialization=zipped)
    found = read_checkpoint(tmp_path / "w.pt")
    assert {name: bits(tensor) for name, tensor in found.tensors.items()} == {
        name: bits(tensor) for name, tensor in network.state_dict().items()
    }
    assert found.metadata == {"": {"version": 1}}
