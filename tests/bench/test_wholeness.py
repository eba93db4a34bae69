import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import nern_core
from bench.three_ways import Outcome
from bench.wholeness import examine
from bench.zoo_network import ZooNetwork, divided, loaded


class Small(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.Linear(16, 32), nn.Linear(32, 16, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        hidden: Tensor = self.first(x).relu()
        answer: Tensor = self.second(hidden)
        return answer


@pytest.fixture(scope="module")
def network(tmp_path_factory: pytest.TempPathFactory) -> ZooNetwork:
    folder = tmp_path_factory.mktemp("network")
    torch.manual_seed(0)
    torch.save(Small().state_dict(), folder / "weights.pt")
    return ZooNetwork(
        checkpoint=folder / "weights.pt",
        dataset=folder,
        inputs=lambda seed: divided({"x": torch.randn(32, 16, generator=torch.Generator().manual_seed(seed))}),
        build=Small,
    )


@pytest.fixture(scope="module")
def encoded(network: ZooNetwork) -> Outcome:
    encoding, decoded = network.dataset / "x.nern", network.dataset / "decoded.pt"
    original = torch.load(network.checkpoint)
    report = nern_core.encode(loaded(Small(), original), encoding, inputs=network.inputs(0)).report
    torch.save(nern_core.decode(encoding).tensors, decoded)
    metrics = report.metrics.model_dump(mode="json")
    return Outcome(original=original, encoding=encoding, decoded=decoded, metrics=metrics, seconds=1.0)


@pytest.fixture
def outcome(encoded: Outcome, tmp_path: Path) -> Outcome:
    """The outcome with a reconstruction that a test may change."""
    return replace(encoded, decoded=shutil.copyfile(encoded.decoded, tmp_path / "decoded.pt"))


def test_a_whole_network_has_no_faults_and_its_outputs_are_compared(network: ZooNetwork, outcome: Outcome) -> None:
    examination = examine(network, outcome)
    assert examination.faults == ()
    assert examination.output_error is not None
    assert 0 < examination.output_error < 0.5


@pytest.mark.parametrize(
    ("change", "fault"),
    [
        (lambda tensors: tensors.pop("first.bias"), "other names: ['first.bias']"),
        (lambda tensors: tensors.update({"first.bias": torch.zeros(31)}), "first.bias is torch.float32 (31,)"),
        (lambda tensors: tensors["first.bias"].fill_(torch.nan), "first.bias is not finite"),
        (lambda tensors: tensors["first.bias"].add_(1), "first.bias is not what the library decodes"),
    ],
    ids=["name", "shape", "nan", "value"],
)
def test_a_tensor_that_is_not_the_decoded_one_is_a_fault(
    change: Callable[[dict[str, Tensor]], Any], fault: str, network: ZooNetwork, outcome: Outcome
) -> None:
    tensors = torch.load(outcome.decoded)
    change(tensors)
    torch.save(tensors, outcome.decoded)
    assert examine(network, outcome).faults == (fault,)


@pytest.mark.parametrize(
    ("part", "fault"),
    [
        ({"file_bytes": 1}, "the report says 1 bytes"),
        ({"fidelity": None}, "neither fidelity nor accuracy is reported"),
        ({"verdict": None}, "there is no verdict"),
    ],
    ids=lambda value: next(iter(value)) if isinstance(value, dict) else "",
)
def test_a_part_that_the_report_lacks_is_a_fault(
    part: dict[str, Any], fault: str, network: ZooNetwork, outcome: Outcome
) -> None:
    assert examine(network, replace(outcome, metrics={**outcome.metrics, **part})).faults == (fault,)


def test_a_network_without_one_of_its_tensors_is_not_loaded() -> None:
    tensors = Small().state_dict()
    del tensors["second.weight"]
    with pytest.raises(KeyError):
        loaded(Small(), tensors)


def test_counters_of_batch_normalization_may_be_missing() -> None:
    network = nn.Sequential(nn.Linear(4, 4), nn.BatchNorm1d(4))
    tensors = network.state_dict()
    del tensors["1.num_batches_tracked"]
    assert loaded(network, tensors) is network
