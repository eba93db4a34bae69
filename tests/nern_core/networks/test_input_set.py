from typing import Any

import pytest
import torch
from torch import Tensor, nn

from nern_core.contract.errors import NernError
from nern_core.networks import input_set
from nern_core.networks.input_set import InputBatch, read_batches
from nern_core.networks.model_inputs import call


class OneArgument(nn.Module):
    def forward(self, images: Tensor) -> Tensor:
        return images


class Keywords(nn.Module):
    def forward(self, input_ids: Tensor, attention_mask: Tensor | None = None) -> Tensor:
        return input_ids


def first_of(items: list[Any], network: nn.Module) -> InputBatch:
    return read_batches(items, network).training[0]


def test_an_item_is_called_as_the_network_takes_it() -> None:
    images = torch.ones(4, 3)
    assert first_of([images, images], OneArgument()).inputs is not images
    assert torch.equal(call(OneArgument(), first_of([images, images], OneArgument()).inputs), images)
    assert torch.equal(call(OneArgument(), first_of([(images,), (images,)], OneArgument()).inputs), images)
    assert torch.equal(call(Keywords(), first_of([{"input_ids": images}] * 2, Keywords()).inputs), images)


def test_what_the_network_does_not_take_are_labels() -> None:
    images, labels = torch.ones(4, 3), torch.tensor([0, 1, 2, 1])
    for item in ([images, labels], (images, labels)):
        batch = first_of([item, item], OneArgument())
        assert torch.equal(call(OneArgument(), batch.inputs), images)
        assert batch.labels is not None
        assert torch.equal(batch.labels, labels)
    named = first_of([{"input_ids": images, "labels": labels}] * 2, Keywords())
    assert isinstance(named.inputs, dict)
    assert list(named.inputs) == ["input_ids"]
    assert named.labels is not None


def test_labels_that_are_no_classes_are_left_out() -> None:
    images = torch.ones(4, 3)
    assert first_of([(images, torch.ones(4, 7))] * 2, OneArgument()).labels is None


def test_a_second_argument_that_the_network_takes_is_no_label() -> None:
    pair = (torch.ones(4, 3), torch.ones(4))
    batch = first_of([pair, pair], Keywords())
    assert isinstance(batch.inputs, tuple)
    assert len(batch.inputs) == 2


def test_a_tenth_of_the_batches_is_held_out_spread_over_all() -> None:
    found = read_batches([torch.full((2, 1), float(number)) for number in range(40)], OneArgument())
    held_out = [float(batch.inputs[0, 0]) for batch in found.held_out if isinstance(batch.inputs, Tensor)]
    assert held_out == [5.0, 15.0, 25.0, 35.0]
    assert len(found.training) == 36


def test_a_tenth_of_the_examples_of_a_lone_batch_is_held_out() -> None:
    found = read_batches([(torch.arange(20.0)[:, None], torch.arange(20))], OneArgument())
    (training,), (held_out,) = found.training, found.held_out
    assert (training.examples, held_out.examples) == (18, 2)
    assert held_out.labels is not None
    assert held_out.labels.tolist() == [0, 1]


def test_a_lone_example_serves_both_and_that_is_said() -> None:
    found = read_batches([torch.ones(1, 3)], OneArgument())
    assert found.training == found.held_out
    assert found.notes == ("The fidelity was measured on the inputs of the training, because there is only one.",)


def test_inputs_without_end_are_read_up_to_a_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(input_set, "MOST_BYTES", 100)

    def endless() -> Any:
        while True:
            yield torch.ones(2, 5)

    found = read_batches(endless(), OneArgument())
    assert len(found.training) + len(found.held_out) == 2
    assert found.notes[0].startswith("Only the first 2 batches")


@pytest.mark.parametrize(
    ("items", "sentence"),
    [
        ([], "There are no inputs"),
        ([{"a": torch.ones(2)}, {"b": torch.ones(2)}], "Batch 2 of the inputs has another structure"),
        ([(torch.ones(2), True), (torch.ones(2), False)], "Batch 2 of the inputs has another structure"),
        (["text"], "batches of the type str"),
    ],
)
def test_inputs_that_cannot_be_used_are_refused(items: list[Any], sentence: str) -> None:
    with pytest.raises(NernError, match=sentence) as error:
        read_batches(items, Keywords())
    assert error.value.code == "bad_data"


def test_inputs_that_the_network_does_not_accept_are_refused() -> None:
    network = nn.Sequential(nn.Linear(3, 2))
    found = read_batches([torch.ones(4, 5), torch.ones(4, 5)], network)
    with pytest.raises(NernError, match="does not accept the inputs: mat1 and mat2 shapes"):
        found.reader(network)


@pytest.mark.parametrize("value", [torch.nan, torch.inf])
def test_inputs_with_outputs_that_are_not_finite_are_refused(value: float) -> None:
    network = nn.Sequential(nn.Linear(3, 2))
    with pytest.raises(NernError, match="'output' has values that are not finite; check the inputs") as error:
        read_batches([torch.full((4, 3), value)] * 2, network).reader(network)
    assert error.value.code == "bad_data"
