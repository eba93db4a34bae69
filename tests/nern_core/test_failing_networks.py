"""Networks that fail for some of their inputs, or that cannot be trained, end with one sentence or are only rounded."""

from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

import nern_core
from nern_core import EncodeOptions, NernError

# Large enough to be noticed by the networks below, and not so large that the batch is tried first.
MARK = 50.0


class Failing(nn.Module):
    """A network that fails in its own way for a batch with the mark."""

    def __init__(self, way: str) -> None:
        super().__init__()
        self.layer = nn.Linear(16, 16)
        self._way = way

    def forward(self, rows: Tensor) -> dict[str, Tensor]:
        found: Tensor = self.layer(rows)
        if float(rows.max()) < MARK:
            return {"found": found}
        if self._way == "raises":
            raise KeyError("no such expert")
        if self._way == "nan":
            return {"found": found * torch.nan}
        return {"other": found}


def batches(marked: int) -> list[Tensor]:
    generator = torch.Generator().manual_seed(0)
    rows = [torch.randn(8, 16, generator=generator) for _ in range(12)]
    rows[marked - 1][0, 0] = MARK
    return rows


@pytest.mark.parametrize(
    ("way", "message"),
    [
        ("raises", "The network does not accept batch {number} of the inputs: 'no such expert'."),
        ("nan", "For batch {number} of the inputs, the original's outputs have values that are not finite; check the"),
        ("other", "The network does not return its output 'found' for all inputs; use inputs that it returns it for."),
    ],
)
# The seventh batch is held out, the others are trained on.
@pytest.mark.parametrize("number", [2, 7, 12])
@pytest.mark.parametrize("tier", ["instant", "trained"])
def test_a_network_that_fails_for_a_later_batch_is_refused_with_its_number(
    tmp_path: Path, way: str, message: str, number: int, tier: str
) -> None:
    options = EncodeOptions.model_validate({"tier": tier} | ({"steps": 60} if tier == "trained" else {}))
    with pytest.raises(NernError) as error:
        nern_core.encode(Failing(way), tmp_path / "n.nern", options, inputs=batches(number))
    assert error.value.code == "bad_data"
    assert error.value.message.startswith(message.format(number=number))


class Undifferentiable(nn.Module):
    """A network that can be called, and fails when it is differentiated."""

    def __init__(self, way: str) -> None:
        super().__init__()
        self.layer = nn.Linear(16, 16)
        self._way = way

    def forward(self, rows: Tensor) -> Tensor:
        found: Tensor = self.layer(rows)
        if self._way == "calls NumPy":
            return torch.from_numpy(found.numpy())
        squashed = found.sigmoid()
        return squashed.mul_(2)


@pytest.mark.parametrize(
    ("way", "reason"),
    [
        ("calls NumPy", "Can't call numpy() on Tensor that requires grad"),
        ("changes values in place", "one of the variables needed for gradient computation has been modified"),
    ],
)
@pytest.mark.parametrize("tier", ["instant", "trained"])
def test_a_network_that_cannot_be_differentiated_is_refused(tmp_path: Path, way: str, reason: str, tier: str) -> None:
    options = EncodeOptions.model_validate({"tier": tier} | ({"steps": 6} if tier == "trained" else {}))
    with pytest.raises(NernError) as error:
        nern_core.encode(Undifferentiable(way), tmp_path / "n.nern", options, inputs=batches(1))
    assert error.value.code == "bad_data"
    assert error.value.message.startswith("The network cannot be trained with batch ")
    assert reason in error.value.message
    assert error.value.message.endswith("; omit the inputs to encode its weights as they are.")


class SteepAtZero(nn.Module):
    """A network whose outputs are finite, and whose gradients are not."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(16, 16)
        self.head = nn.Linear(16, 4)

    def forward(self, rows: Tensor) -> Tensor:
        hidden: Tensor = self.layer(rows)
        found: Tensor = self.head((hidden - hidden).sqrt() + rows)
        return found


class Answers(nn.Module):
    """A network whose outputs depend on no weight."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(16, 16)

    def forward(self, rows: Tensor) -> Tensor:
        answers: Tensor = self.layer(rows)
        return answers.argmax(dim=1).float()[:, None]


@pytest.mark.parametrize("network", [SteepAtZero(), Answers()], ids=["gradients", "argmax"])
@pytest.mark.parametrize("tier", ["instant", "trained"])
def test_layers_without_finite_gradients_are_only_rounded(tmp_path: Path, network: nn.Module, tier: str) -> None:
    options = EncodeOptions.model_validate({"tier": tier} | ({"steps": 6} if tier == "trained" else {}))
    path = tmp_path / "n.nern"
    nern_core.encode(network, path, options, inputs=batches(1))
    weight, decoded = network.state_dict()["layer.weight"], nern_core.decode(path).tensors["layer.weight"]
    assert float((decoded - weight).norm() / weight.norm()) < 0.1
