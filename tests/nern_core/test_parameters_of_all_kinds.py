"""Networks with parameters of every type, size and use are encoded with their inputs, in both tiers."""

import copy
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from nern_core import EncodeOptions, NernError, decode, encode, load
from nern_core.tensors.checkpoint import Checkpoint, read_checkpoint, write_checkpoint
from tests.conftest import DIGITS, EXAMPLE

TIERS = pytest.mark.parametrize("tier", ["instant", "trained"])


class Computed(nn.Module):
    """A linear layer `a` and a tensor `v`, used by a function."""

    def __init__(self, function: Callable[[Tensor, Tensor], Tensor], v: Tensor, *, is_trained: bool = True) -> None:
        super().__init__()
        self.a = nn.Linear(16, 32)
        self.v = nn.Parameter(v, requires_grad=is_trained)
        self._function = function

    def forward(self, x: Tensor) -> Tensor:
        return self._function(self.a(x), self.v)


def options_of(tier: str, steps: int) -> dict[str, Any]:
    """Return the options of a tier; training takes this number of steps."""
    return {"tier": tier, "steps": steps} if tier == "trained" else {"tier": tier}


def error(network: nn.Module, folder: Path, tier: str, dtype: torch.dtype = torch.float32) -> float:
    """Return the relative error of the outputs after encoding with a short training, on inputs of that type."""
    torch.manual_seed(1)
    inputs = [torch.randn(32, 16).to(dtype) for _ in range(12)]
    encode(network.eval(), folder / "x.nern", EncodeOptions(**options_of(tier, 20)), inputs=inputs)
    decoded = load(folder / "x.nern", copy.deepcopy(network))
    with torch.no_grad():
        expected, found = (torch.cat([of(batch) for batch in inputs]).double() for of in (network, decoded))
    return float((found - expected).norm() / expected.norm())


@pytest.fixture(autouse=True)
def _seeded() -> None:
    torch.manual_seed(0)


@TIERS
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_checkpoints_of_every_type_are_encoded_with_data(tmp_path: Path, dtype: torch.dtype, tier: str) -> None:
    tensors = {
        name: t.to(dtype) if t.is_floating_point() else t for name, t in read_checkpoint(EXAMPLE).tensors.items()
    }
    write_checkpoint(Checkpoint(tensors), tmp_path / "c.safetensors")
    options: dict[str, Any] = {"architecture": "digits-cnn", "dataset": str(DIGITS), "target_bytes": 30_000}
    options |= options_of(tier, 10)
    report = encode(tmp_path / "c.safetensors", tmp_path / "x.nern", EncodeOptions(**options)).report
    assert report.metrics.reconstructed_accuracy is not None
    assert report.metrics.reconstructed_accuracy > 98


@TIERS
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_networks_of_every_type_are_encoded(tmp_path: Path, dtype: torch.dtype, tier: str) -> None:
    network = nn.Sequential(nn.Linear(16, 64), nn.ReLU(), nn.Linear(64, 8)).to(dtype)
    assert error(network, tmp_path, tier, dtype) < 0.15


@TIERS
def test_a_small_shared_vector_stays_shared(tmp_path: Path, tier: str) -> None:
    slope = nn.PReLU()
    network = nn.Sequential(nn.Linear(16, 128), slope, nn.Linear(128, 64), slope, nn.Linear(64, 8))
    assert error(network, tmp_path, tier) < 0.15
    weights = decode(tmp_path / "x.nern").tensors
    assert torch.equal(weights["1.weight"], weights["3.weight"])


@TIERS
@pytest.mark.parametrize(
    ("function", "v"),
    [
        (lambda a, v: torch.softmax(a + v, -1), torch.tensor([0.0] * 30 + [-torch.inf] * 2)),
        (lambda a, v: a + v, torch.arange(32)),
        (lambda a, v: torch.where(v, a, 0.0), torch.arange(32) % 2 == 0),
        (lambda a, v: a * v.imag, torch.complex(torch.rand(32), torch.rand(32))),
    ],
    ids=["infinite", "integers", "flags", "complex"],
)
def test_parameters_that_cannot_be_rounded_are_kept_exactly(
    tmp_path: Path, function: Callable[[Tensor, Tensor], Tensor], v: Tensor, tier: str
) -> None:
    assert error(Computed(function, v, is_trained=False), tmp_path, tier) < 0.15
    assert torch.equal(decode(tmp_path / "x.nern").tensors["v"], v)


@TIERS
def test_tiny_parameters_keep_their_digits(tmp_path: Path, tier: str) -> None:
    network = Computed(lambda a, v: a + v * 1e30, torch.randn(32) * 1e-30)
    assert error(network, tmp_path, tier) < 0.1


@TIERS
def test_a_scalar_parameter_keeps_its_type(tmp_path: Path, tier: str) -> None:
    network = Computed(lambda a, v: a @ v.expand(32, 8), torch.tensor(1.25))
    assert error(network, tmp_path, tier) < 0.15


@pytest.mark.parametrize("scale", [1.0, 1e-3, 1e-6])
def test_small_outputs_are_trained_as_well_as_large_ones(tmp_path: Path, scale: float) -> None:
    last = nn.Linear(64, 8)
    with torch.no_grad():
        last.weight.mul_(scale)
        last.bias.mul_(scale)
    assert error(nn.Sequential(nn.Linear(16, 64), nn.ReLU(), last), tmp_path, "trained") < 0.15


def test_a_type_that_no_file_holds_is_refused(tmp_path: Path) -> None:
    network = Computed(lambda a, v: a, torch.randn(32, dtype=torch.complex128))
    with pytest.raises(NernError, match="'v' is complex128, which no file of weights can hold") as raised:
        error(network, tmp_path, "instant")
    assert raised.value.code == "unsupported_tensor"


def test_a_network_without_shapes_is_refused(tmp_path: Path) -> None:
    with pytest.raises(NernError, match="'weight' has no shape yet; call the network once before") as raised:
        encode(nn.LazyLinear(8), tmp_path / "x.nern")
    assert raised.value.code == "unsupported_tensor"


def test_a_file_is_decoded_by_its_name_as_text(tmp_path: Path) -> None:
    encode(EXAMPLE, tmp_path / "x.nern", EncodeOptions(target_ratio=8))
    assert decode(str(tmp_path / "x.nern")).tensors.keys() == read_checkpoint(EXAMPLE).tensors.keys()
