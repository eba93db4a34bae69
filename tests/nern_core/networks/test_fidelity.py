import pytest
import torch
from torch import Tensor, nn

from nern_core.networks.fidelity import QualityMeter, compare_networks
from nern_core.networks.input_batch import InputBatch
from nern_core.networks.outputs import OutputReader, reader_of


def test_the_figures_of_logits_are_those_of_all_batches_together() -> None:
    meter = QualityMeter()
    original = torch.tensor([[3.0, 0.0], [0.0, 4.0], [1.0, 0.0]])
    changed = torch.tensor([[3.0, 0.0], [4.0, 0.0], [1.0, 0.0]])
    labels = torch.tensor([0, 1, 1])
    for rows in (slice(2), slice(2, 3)):
        meter.add({"logits": original[rows]}, {"logits": changed[rows]}, len(labels[rows]), labels[rows])
    quality = meter.quality()
    (output,) = quality.fidelity.outputs
    assert output.relative_error == pytest.approx((32 / 26) ** 0.5, abs=1e-6)
    assert output.cosine == pytest.approx(10 / 26, abs=1e-6)
    assert quality.fidelity.agreement == pytest.approx(100 * 2 / 3)
    assert quality.original_accuracy == pytest.approx(100 * 2 / 3)
    assert quality.reconstructed_accuracy == pytest.approx(100 / 3)


def test_a_network_that_is_no_classifier_has_no_agreement() -> None:
    meter = QualityMeter()
    maps = torch.ones(2, 3, 4, 4)
    meter.add({"output": maps}, {"output": maps * 1.5}, 2)
    quality = meter.quality()
    assert quality.fidelity.agreement is None
    assert quality.original_accuracy is None
    assert quality.fidelity.outputs[0].relative_error == 0.5
    assert quality.fidelity.outputs[0].cosine == 1.0


def test_an_embedding_has_no_agreement_unless_there_are_labels() -> None:
    embedding = torch.nn.functional.normalize(torch.randn(8, 64, generator=torch.Generator().manual_seed(0)), dim=1)
    for labels, agreement in ((None, None), (torch.zeros(8, dtype=torch.int64), 100.0)):
        meter = QualityMeter()
        meter.add({"output": embedding}, {"output": embedding}, 8, labels)
        assert meter.quality().fidelity.agreement == agreement
    meter = QualityMeter()
    meter.add({"output": 100 * embedding}, {"output": embedding}, 8)
    assert meter.quality().fidelity.agreement == 100.0


def test_the_answers_of_a_sequence_are_counted_one_by_one() -> None:
    meter = QualityMeter()
    logits = torch.eye(4)[None]
    meter.add({"logits": logits, "hidden": torch.ones(1)}, {"logits": logits.flip(2), "hidden": torch.ones(1)}, 1)
    assert meter.quality().fidelity.agreement == 0.0
    assert meter.quality().original_accuracy is None


def test_outputs_that_are_not_finite_have_the_largest_error() -> None:
    meter = QualityMeter()
    meter.add({"output": torch.ones(2)}, {"output": torch.tensor([float("nan"), 1.0])}, 2)
    assert meter.quality().fidelity.outputs[0].relative_error == 1e6


def test_two_networks_are_compared_on_all_batches() -> None:
    network = nn.Linear(3, 2)
    doubled = nn.Linear(3, 2)
    doubled.load_state_dict({name: 2 * tensor for name, tensor in network.state_dict().items()})
    batches = [InputBatch(torch.ones(4, 3)), InputBatch(torch.ones(1, 3))]
    fidelity = compare_networks(network, doubled, batches, OutputReader(("output",))).fidelity
    assert (fidelity.examples, fidelity.outputs[0].relative_error) == (5, 1.0)


class Parts(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Conv2d(3, 4, 3)
        self.pool = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten())
        self.head = nn.Linear(4, 3)

    def forward(self, images: Tensor) -> Tensor:
        logits: Tensor = self.head(self.pool(self.body(images)))
        return logits


@pytest.mark.parametrize("compared", ["body", "pool", "output"])
def test_answers_are_those_of_the_network_whatever_outputs_are_compared(compared: str) -> None:
    network = Parts().requires_grad_(requires_grad=False)
    images = torch.rand(8, 3, 6, 6, generator=torch.Generator().manual_seed(0))
    batches = [InputBatch(images, network(images).argmax(dim=1))]
    reader = reader_of(network, lambda: network(images), (compared,))
    quality = compare_networks(network, network, batches, reader)
    assert [output.name for output in quality.fidelity.outputs] == [compared]
    assert (quality.original_accuracy, quality.fidelity.agreement) == (100.0, 100.0)
