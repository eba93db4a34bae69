"""Differences between GPU and CPU. Skipped without a GPU.

These tests only need the packages of the method, so that they run on a machine without the service:
python -m pytest --noconftest -c /dev/null tests/nern_core/test_gpu.py
"""

import logging
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from nern_core.analysis.direct_quantization import quantize_directly
from nern_core.contract.options import EncodeOptions
from nern_core.decoder import decode
from nern_core.encoder import encode
from nern_core.networks import build_network, find_architecture
from nern_core.networks.datasets import read_image_set
from nern_core.recipes.fast import FAST
from nern_core.tensors.checkpoint import read_checkpoint
from nern_core.training.clock import Budget, Clock
from nern_core.training.gpu_graph import GraphSteps, own_stream
from nern_core.training.image_source import image_source
from nern_core.training.loop import train
from nern_core.training.loss import Batch, Loss
from nern_core.training.optim import OptimizerConfig, make_optimizers
from nern_core.training.snapshots import Snapshots
from nern_core.training.snapshots.snapshots import Interrupted
from nern_core.training.teacher import Teacher

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no GPU here")

EXAMPLES = Path(__file__).parents[2] / "examples"
EXAMPLE, DIGITS = EXAMPLES / "digits-cnn.safetensors", EXAMPLES / "digits"
GPU = torch.device("cuda")
RATE = OptimizerConfig(name="muon", learning_rate=0.05, bias_learning_rate=0.01)


def options(**changes: object) -> EncodeOptions:
    """Return options for the digits example on a GPU."""
    given = {"architecture": "digits-cnn", "dataset": str(DIGITS), "device": "gpu", "seed": 0} | changes
    return EncodeOptions.model_validate(given)


class Line(Loss):
    """Distance between two linear maps on random inputs. With `synchronizes`, it reads a number from the GPU."""

    def __init__(self, *, synchronizes: bool = False) -> None:
        torch.manual_seed(0)
        self.module = nn.Linear(6, 4).to(GPU)
        self.device = GPU
        self._wanted = nn.Linear(6, 4).to(GPU)
        self._generator = torch.Generator().manual_seed(0)
        self._synchronizes = synchronizes

    def draw(self, fraction: float) -> Batch:
        return Batch(tensors={"inputs": (torch.randn(32, 6, generator=self._generator),)}, settings=(fraction < 0.5,))

    def compute(self, batch: Batch) -> Tensor:
        (inputs,), (twice,) = batch.tensors["inputs"], batch.settings
        inputs = inputs.to(GPU)
        if self._synchronizes:
            assert float(inputs.sum()) < torch.inf
        loss: Tensor = (self.module(inputs) - self._wanted(inputs).detach()).square().mean()
        return 2 * loss if twice else loss

    def state(self) -> None:
        return None

    def restore(self, state: None) -> None:
        raise AssertionError


def trained(loss: Line, steps: int = 40) -> tuple[list[float], Tensor]:
    """Return the reported losses and the weights after training."""
    losses: list[float] = []
    optimizers = make_optimizers(RATE, loss.module)
    train(
        loss,
        optimizers,
        Clock(Budget(steps=steps)),
        (0.0, 1.0),
        lambda report: losses.append(report.loss),
        Snapshots(),
    )
    return losses, loss.module.weight.detach().clone()


def trained_without_graphs(loss: Line, steps: int = 40) -> Tensor:
    """Return the weights after the same training without CUDA graphs."""
    optimizers = make_optimizers(RATE, loss.module)
    for step in range(steps):
        loss(step / steps).backward()
        optimizers.schedule(step / steps)
        optimizers.step()
    return loss.module.weight.detach().clone()


def test_repeated_steps_are_those_that_were_recorded_with_other_batches_and_rates() -> None:
    losses, found = trained(Line())
    torch.testing.assert_close(found, trained_without_graphs(Line()), rtol=1e-4, atol=1e-6)
    assert losses[-1] < 0.1 * losses[0]


def test_steps_are_recorded_again_when_the_settings_change() -> None:
    loss = Line()
    steps = GraphSteps(loss, make_optimizers(RATE, loss.module))
    graphs = []
    with own_stream(GPU):
        for fraction in [0.0] * 6 + [0.5] * 6:
            steps(fraction)
            graphs.append(steps._graph)
    recorded = [graph for graph in dict.fromkeys(graphs) if graph is not None]
    assert len(recorded) == 2
    assert [graphs.index(graph) for graph in recorded] == [3, 9]


def test_what_cannot_be_recorded_is_trained_all_the_same(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        losses, found = trained(Line(synchronizes=True))
    torch.testing.assert_close(found, trained_without_graphs(Line()), rtol=1e-4, atol=1e-6)
    assert losses[-1] < 0.1 * losses[0]
    assert "cannot be repeated as a CUDA graph" in caplog.text


@pytest.mark.parametrize(
    ("changes", "least"),
    [
        ({"steps": 600, "hidden_size": 64}, 90.0),
        ({"steps": 600, "hidden_size": 64, "permutation": "none", "recipe": "data-free"}, 85.0),
        ({"steps": 60, "hidden_size": 32, "recipe": "paper"}, 0.0),
        ({"steps": 300, "target_bytes": 14_000}, 90.0),
        ({"steps": 300, "max_drop": 1.0}, 90.0),
        ({"steps": 300, "hidden_size": 64, "rounds": 2}, 80.0),
    ],
    ids=["fast", "data-free", "paper", "target", "max drop", "rounds"],
)
def test_a_gpu_encodes_the_example(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, changes: dict[str, object], least: float
) -> None:
    with caplog.at_level(logging.WARNING):
        result = encode(EXAMPLE, tmp_path / "x.nern", options(**changes))
    assert not caplog.records
    assert result.report.metrics.reconstructed_accuracy is not None
    assert result.report.metrics.reconstructed_accuracy >= least
    assert decode(tmp_path / "x.nern").tensors.keys() == read_checkpoint(EXAMPLE).tensors.keys()


@pytest.mark.parametrize("changes", [{"hidden_size": 64, "steps": 400}, {"target_bytes": 14_000, "steps": 200}])
def test_an_interrupted_encoding_goes_on(tmp_path: Path, changes: dict[str, object]) -> None:
    wanted, folder, asked = options(**changes), tmp_path / "snapshots", 0

    def interrupted() -> bool:
        nonlocal asked
        asked += 1
        return asked == 100

    folder.mkdir()
    with pytest.raises(Interrupted):
        encode(EXAMPLE, tmp_path / "x.nern", wanted, snapshots=Snapshots(folder, interrupted=interrupted))
    result = encode(EXAMPLE, tmp_path / "x.nern", wanted, snapshots=Snapshots(folder))
    never_stopped = encode(EXAMPLE, tmp_path / "y.nern", wanted)
    assert result.report.curve[-1].step == never_stopped.report.curve[-1].step
    assert result.report.metrics.reconstructed_accuracy == pytest.approx(
        never_stopped.report.metrics.reconstructed_accuracy, abs=2.0
    )


def test_the_network_itself_is_quantized_on_a_gpu() -> None:
    architecture = find_architecture("digits-cnn")
    teacher = Teacher(
        network=build_network(architecture, read_checkpoint(EXAMPLE).tensors, GPU),
        preprocessing=architecture.preprocessing,
        images=read_image_set(DIGITS, "train"),
    )
    images = image_source(FAST.images, teacher, torch.Generator().manual_seed(0))
    assert images is not None
    losses: list[float] = []
    quantize_directly(teacher, images, 5, Budget(steps=200), lambda step: losses.append(step.loss))
    assert losses[-1] < 0.5 * losses[0]


@pytest.mark.parametrize("name", ["cifar-resnet20", "torchvision:resnet18", "torchvision:mobilenet_v2"])
def test_the_steps_of_known_networks_are_recorded(name: str, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    architecture = find_architecture(name)
    torch.manual_seed(0)
    network = build_network(architecture, architecture.build(10).state_dict(), GPU)
    images = read_image_set(DIGITS, "train")
    teacher = Teacher(network=network, preprocessing=replace(architecture.preprocessing, input_size=32), images=images)
    source = image_source(replace(FAST.images, per_step=16), teacher, torch.Generator().manual_seed(0))
    assert source is not None
    with caplog.at_level(logging.WARNING):
        quantize_directly(teacher, source, 9, Budget(steps=8))
    assert not caplog.records
