from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import pytest
import torch
from torch import Tensor, nn

from nern_core.contract.errors import NernError
from nern_core.networks.outputs import LOGITS, OutputReader, named_outputs, reader_of
from nern_core.training.losses import squared_logit_error


class Pair(NamedTuple):
    boxes: Tensor
    scores: Tensor


@dataclass
class Answer:
    logits: Tensor
    loss: Tensor
    past_key_values: tuple[Tensor, ...]
    attentions: tuple[Tensor, ...] | None = None


def names(outputs: object) -> list[str]:
    return list(named_outputs(outputs))


def test_outputs_of_every_structure_have_names() -> None:
    one = torch.ones(2, 3)
    assert names(one) == ["output"]
    assert names((one, [one, {"a": one}])) == ["0", "1.0", "1.1.a"]
    assert names({"logits": one, "ids": torch.ones(2, dtype=torch.int64)}) == ["logits"]
    assert names(Pair(one, torch.empty(0))) == ["boxes"]


def test_the_loss_and_the_cache_of_a_language_model_are_no_outputs() -> None:
    one = torch.ones(2, 3)
    assert names(Answer(logits=one, loss=one.sum(), past_key_values=(one,))) == ["logits"]


class Returns(nn.Module):
    """A network that returns what it is given, through a module whose output is four times that of its parts."""

    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Identity()
        self.head = nn.ReLU(inplace=True)

    def forward(self, outputs: object) -> object:
        if isinstance(outputs, Tensor):
            return self.head(self.body(outputs) - 1)
        return outputs


NETWORK = Returns()


def reader_for(outputs: object, wanted: Sequence[str] = ()) -> OutputReader:
    return reader_of(NETWORK, lambda: outputs, wanted)


def read(reader: OutputReader, outputs: object) -> Tensor:
    return reader.read(NETWORK, lambda: outputs)


def test_a_lone_output_of_two_axes_is_read_as_logits() -> None:
    logits = torch.tensor([[1.0, 2.0]])
    assert torch.equal(read(reader_for(logits), logits * 3), logits * 3)
    assert torch.equal(read(reader_for({"logits": logits}), {"logits": logits}), logits)
    assert torch.equal(read(LOGITS, logits.half()), logits)


def test_the_squared_difference_of_joined_outputs_is_the_mean_of_their_squared_relative_errors() -> None:
    original = {"small": torch.full((2, 5), 0.01), "large": torch.full((3, 7, 11), 100.0)}
    changed = {"small": original["small"] * 1.2, "large": original["large"] * 0.9}
    reader = reader_for(original)
    assert read(reader, original).shape == (1, 2 * 5 + 3 * 7 * 11)
    difference = squared_logit_error(read(reader, changed), read(reader, original))
    assert float(difference) == pytest.approx((0.2**2 + 0.1**2) / 2)


def test_an_output_of_zeros_keeps_its_scale() -> None:
    zeros = {"a": torch.zeros(2, 3, 4), "b": torch.ones(2)}
    assert read(reader_for(zeros), zeros).isfinite().all()


def test_chosen_outputs_alone_are_compared() -> None:
    outputs = {"a": torch.ones(2, 3), "b": torch.ones(4, 5)}
    assert reader_for(outputs, ["b"]).names == ("b",)
    with pytest.raises(NernError, match=r"no output or module 'c'; it returns 'a', 'b'") as error:
        reader_for(outputs, ["c"])
    assert error.value.code == "unknown_output"


def test_outputs_of_modules_are_compared_as_they_were_before_later_operations() -> None:
    values = torch.tensor([[0.5, 3.0]])

    def run() -> object:
        return NETWORK(values.clone())

    reader = reader_of(NETWORK, run, ["body", "output"])
    assert (reader.names, reader.modules) == (("body", "output"), ("body",))
    found = reader.named(NETWORK, run)
    assert found["body"].tolist() == [[0.5, 3.0]]
    assert found["output"].tolist() == [[0.0, 2.0]]
    assert not NETWORK.body._forward_hooks


def test_a_network_without_outputs_is_refused() -> None:
    with pytest.raises(NernError) as error:
        reader_for({"ids": torch.ones(2, dtype=torch.int64)})
    assert error.value.code == "no_outputs"
