from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.utils.data import TensorDataset

from nern_core.contract.errors import NernError
from nern_core.networks import input_set
from nern_core.networks.input_batch import InputBatch
from nern_core.networks.input_set import read_batches
from nern_core.networks.model_inputs import call, split


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
    assert sum(batch.examples for batch in (*found.training, *found.held_out)) == 4
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


@pytest.mark.parametrize("value", [torch.nan, torch.inf, -torch.inf])
@pytest.mark.parametrize("number", [2, 3, 12])
def test_inputs_that_are_not_finite_are_refused_in_any_batch(value: float, number: int) -> None:
    batches = [{"rows": torch.ones(4, 3)} for _ in range(12)]
    batches[number - 1]["rows"][1, 2] = value
    network = Rows()
    with pytest.raises(NernError) as error:
        read_batches(batches, network).reader(network)
    assert error.value.code == "bad_data"
    assert error.value.message == (
        f"In batch {number} of the inputs, 'rows' has values that are not finite; replace them, or leave these "
        "examples out."
    )


def test_inputs_that_are_too_large_for_the_network_are_refused_in_any_batch() -> None:
    network = nn.Sequential(nn.Linear(3, 2))
    nn.init.ones_(network.get_parameter("0.weight"))
    with pytest.raises(NernError, match="^For batch 2 of the inputs, the original's outputs have values that are not"):
        read_batches([torch.ones(4, 3), torch.full((4, 3), 3e38)], network).reader(network)


def test_infinities_that_the_network_takes_are_accepted() -> None:
    mask = torch.tensor([[0.0, -torch.inf, 0.0]] * 4)
    network = Masked()
    found = read_batches(
        [(torch.ones(4, 3), torch.zeros(4, 3) if number == 0 else mask) for number in range(3)], network
    )
    assert found.reader(network).names == ("output",)


@pytest.mark.parametrize("token", [-1, -9, 7, 2**62, -(2**63)])
@pytest.mark.parametrize("number", [2, 12])
def test_a_token_that_an_embedding_lacks_is_found_in_any_batch(token: int, number: int) -> None:
    tokens = [torch.full((4, 3), 5) for _ in range(12)]
    tokens[number - 1][2, 1] = token
    network = nn.Sequential(nn.Embedding(7, 2))
    with pytest.raises(NernError, match=f"the token {token}, but the network embeds only 7") as error:
        read_batches(tokens, network).reader(network)
    assert error.value.code == "bad_data"


class Rows(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(3, 2)

    def forward(self, rows: Tensor) -> Tensor:
        rows_out: Tensor = self.layer(rows)
        return rows_out


class Masked(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(3, 3)

    def forward(self, rows: Tensor, mask: Tensor) -> Tensor:
        scores: Tensor = self.layer(rows)
        return (scores + mask).softmax(dim=1)


@pytest.mark.parametrize("sizes", [(32, 32, 32, 32, 32, 32, 8), (50, 150), (100, 50, 50)])
def test_of_few_batches_a_tenth_of_the_examples_is_held_out(sizes: tuple[int, ...]) -> None:
    rows = torch.arange(200.0)[:, None].split(sizes)
    found = read_batches(rows, OneArgument())
    assert sum(batch.examples for batch in found.held_out) == 20
    assert sum(batch.examples for batch in found.training) == 180
    together = [batch.inputs for batch in (*found.training, *found.held_out) if isinstance(batch.inputs, Tensor)]
    assert torch.cat(together).sort(dim=0).values.equal(torch.cat(rows))


class OfFour(nn.Module):
    """A network that takes four examples at once, as graphs exported for a batch do."""

    def forward(self, rows: Tensor) -> Tensor:
        return rows.reshape(4, 2)


def test_batches_are_held_out_whole_if_the_network_takes_no_others() -> None:
    found = read_batches([torch.ones(4, 2)] * 5, OfFour())
    assert [batch.examples for batch in found.held_out] == [4]
    assert [batch.examples for batch in found.training] == [4, 4, 4, 4]


class Anything(nn.Module):
    def forward(self, *arguments: Tensor) -> Tensor:
        (only,) = arguments
        return only


def wrapped_by_compilation() -> nn.Module:
    compiled: nn.Module = torch.compile(OneArgument(), backend="eager")  # type: ignore[assignment] # not compiled before it is called
    return compiled


@pytest.mark.parametrize("make", [Anything, lambda: nn.DataParallel(OneArgument()), wrapped_by_compilation])
def test_labels_are_found_if_a_network_or_its_wrapper_has_any_number_of_arguments(make: Any) -> None:
    batch = first_of([(torch.ones(4, 3), torch.tensor([0, 1, 2, 1]))] * 2, make())
    assert batch.labels is not None
    assert len(split(batch.inputs)[0]) == 1


def test_arrays_become_tensors_of_the_type_of_the_weights() -> None:
    network = nn.Linear(3, 2).half()
    images, labels = np.ones((40, 3))[::-1], np.arange(40, dtype=np.int32)
    for item in (images, (images, labels), [images], {"input": images, "labels": labels}):
        batch = first_of([item], network)
        (tensor,), _, _ = split(batch.inputs)
        assert tensor.dtype == torch.float16
        assert (batch.labels is not None) is (len(item) == 2)


@pytest.mark.parametrize(
    ("items", "sentence"),
    [
        ([np.array(["cat", "dog"])], "The inputs have an array of the type '<U3'; give numbers."),
        ([{"input_ids": [1, 2]}], "Batch 1 of the inputs has no tensor or array."),
        (
            TensorDataset(torch.ones(4, 3), torch.zeros(4)),
            (
                "The inputs are a TensorDataset of single examples; give batches: "
                "torch.utils.data.DataLoader(dataset, batch_size=32)."
            ),
        ),
    ],
)
def test_inputs_that_are_no_batches_are_refused_in_a_sentence(items: Any, sentence: str) -> None:
    with pytest.raises(NernError) as error:
        read_batches(items, Keywords())
    assert error.value.message == sentence


def test_the_type_of_inputs_is_named_if_the_network_refuses_it() -> None:
    network = nn.Sequential(nn.Linear(3, 2))
    found = read_batches([torch.ones(4, 3, dtype=torch.uint8)] * 2, network)
    with pytest.raises(NernError, match=r"; the inputs have the type uint8, the weights float32\.$"):
        found.reader(network)


def test_tokens_beyond_the_vocabulary_are_named_in_whichever_batch_they_are() -> None:
    network = nn.Sequential(nn.Embedding(10, 4))
    items = [torch.tensor([[number, 1]]) for number in (1, 2, 3, 4, 5, 10, 6, 7)]
    with pytest.raises(NernError) as error:
        read_batches(items, network).reader(network)
    assert error.value.message == "The inputs have the token 10, but the network embeds only 10, from 0 to 9."


def test_labels_without_a_class_are_refused() -> None:
    network = nn.Sequential(nn.Linear(3, 2))
    found = read_batches([(torch.ones(4, 3), torch.tensor([0, 1, number, 0])) for number in (0, 1, 1, 2)], network)
    with pytest.raises(NernError, match="has the label 2, but the network has 2 classes, from 0 to 1"):
        found.reader(network)


def test_inputs_of_the_training_are_not_held_out() -> None:
    assert not read_batches([torch.ones(1, 3)], OneArgument()).is_held_out
    assert read_batches([torch.ones(2, 3)], OneArgument()).is_held_out


@pytest.mark.parametrize(
    ("inputs", "sentence"),
    [
        (5, "The inputs are one object of the type int; give a list of batches."),
        ([torch.eye(3).to_sparse()], "Batch 1 of the inputs has a sparse tensor; give dense ones."),
    ],
)
def test_inputs_that_are_no_batches_of_dense_tensors_are_refused(inputs: Any, sentence: str) -> None:
    with pytest.raises(NernError, match=sentence) as raised:
        read_batches(inputs, OneArgument())
    assert raised.value.code == "bad_data"


@pytest.mark.filterwarnings("ignore:.*torch.jit:DeprecationWarning")
def test_a_traced_network_is_refused() -> None:
    traced = torch.jit.trace(nn.Linear(3, 3), torch.ones(1, 3))
    with pytest.raises(NernError, match="give the original module, or omit the inputs") as raised:
        read_batches([torch.ones(2, 3)], traced)
    assert raised.value.code == "unsupported_network"
