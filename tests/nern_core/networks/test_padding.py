from collections.abc import Sequence
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from nern_core.networks.fidelity import compare_networks
from nern_core.networks.input_batch import InputBatch
from nern_core.networks.outputs import OutputReader, reader_of
from nern_core.networks.padding import real_positions
from nern_core.training.losses import squared_logit_error

# The second line has one token, and two positions of padding.
MASK = torch.tensor([[1, 1, 1], [1, 0, 0]])
OTHER = torch.tensor([[1, 1, 0], [1, 1, 1]])
INPUTS: dict[str, Any] = {"input_ids": torch.zeros(2, 3, dtype=torch.long), "attention_mask": MASK}
HIDDEN = torch.zeros(2, 3, 4)


class Scaled(nn.Module):
    """Returns logits (n, t, 2) that are `factor` at the real positions and `garbage` at the others."""

    def __init__(self, factor: float, garbage: float) -> None:
        super().__init__()
        self.factor = nn.Parameter(torch.tensor(factor))
        self.garbage = garbage

    def forward(self, input_ids: Tensor, attention_mask: Tensor) -> dict[str, Tensor]:
        real = (attention_mask != 0)[..., None]
        values = torch.tensor([1.0, 0.0]).expand(*input_ids.shape, 2)
        return {
            "logits": torch.where(real, self.factor * values, self.garbage * values),
            "pooled": self.factor * torch.ones(len(input_ids), 3),
        }


def reader_for(original: nn.Module, wanted: Sequence[str] = ()) -> OutputReader:
    """Return the reader of the outputs for the inputs."""
    with torch.no_grad():
        return reader_of(original, lambda: original(**INPUTS), wanted, INPUTS)


def difference(original: nn.Module, changed: nn.Module) -> Tensor:
    """Return the loss of distillation for the inputs."""
    reader = reader_for(original)
    first, second = (
        reader.read(network, lambda network=network: network(**INPUTS), INPUTS)  # type: ignore[misc] # bound at once
        for network in (original, changed)
    )
    return squared_logit_error(second, first)


@pytest.mark.parametrize(
    ("name", "output", "inputs", "expected"),
    [
        ("last_hidden_state", HIDDEN, INPUTS, MASK),
        ("last_hidden_state", HIDDEN, {"attention_mask": MASK.float()}, MASK),
        ("start_logits", HIDDEN[..., 0], INPUTS, MASK),
        # As many features, or classes, as there are tokens.
        ("pooler_output", torch.zeros(2, 3), INPUTS, None),
        ("logits", torch.zeros(2, 3), INPUTS, None),
        ("attentions.0", torch.zeros(2, 4, 3, 3), INPUTS, None),
        ("last_hidden_state", HIDDEN[:, :2], INPUTS, None),
        ("last_hidden_state", HIDDEN, {"input_ids": MASK}, None),
        ("last_hidden_state", HIDDEN, (MASK,), None),
        ("output", HIDDEN, MASK, None),
        ("last_hidden_state", HIDDEN, {"attention_mask": torch.ones(2, 1, 3, 3)}, None),
        ("logits", HIDDEN, INPUTS | {"decoder_attention_mask": OTHER}, OTHER),
        ("encoder_last_hidden_state", HIDDEN, INPUTS | {"decoder_attention_mask": OTHER}, MASK),
        ("model.encoder.layers.0", HIDDEN, INPUTS | {"decoder_attention_mask": OTHER}, MASK),
        ("logits", HIDDEN, INPUTS | {"decoder_input_ids": OTHER}, None),
    ],
)
def test_outputs_of_tokens_have_the_padding_of_their_mask(
    name: str, output: Tensor, inputs: Any, expected: Tensor | None
) -> None:
    found = real_positions(name, output, inputs)
    assert (None if found is None else found.long().tolist()) == (None if expected is None else expected.tolist())


def test_the_loss_is_that_of_the_real_positions() -> None:
    # Both outputs differ by a half; the second one has no positions.
    assert difference(Scaled(1.0, 7.0), Scaled(1.5, -5.0)).item() == pytest.approx(0.5**2)


def test_padding_has_no_gradient() -> None:
    changed = Scaled(1.5, -5.0)
    difference(Scaled(1.0, 7.0), changed).backward()
    # d/df of the mean over two outputs of (f - 1)^2.
    assert float(changed.factor.grad) == pytest.approx(2 * 0.5)  # type: ignore[arg-type] # it has one


def test_values_at_padding_may_be_anything() -> None:
    first, second = Scaled(1.0, float("nan")), Scaled(1.5, float("inf"))
    assert difference(first, second).item() == pytest.approx(0.5**2)


def test_errors_and_answers_are_those_of_the_real_positions() -> None:
    original, changed = Scaled(1.0, 7.0), Scaled(1.5, -5.0)
    batches = [InputBatch(INPUTS), InputBatch({**INPUTS, "attention_mask": OTHER})]
    fidelity = compare_networks(original, changed, batches, OutputReader(("logits", "pooled"))).fidelity
    assert [(output.relative_error, output.cosine) for output in fidelity.outputs] == [(0.5, 1.0), (0.5, 1.0)]
    # At padding, the answers differ.
    assert fidelity.agreement == 100.0


def test_labels_of_lines_are_no_labels_of_tokens() -> None:
    network = Scaled(1.0, 0.0)
    inputs = {"input_ids": torch.zeros(4, 1, dtype=torch.long), "attention_mask": torch.ones(4, 1)}
    batch = InputBatch(inputs, torch.zeros(4, dtype=torch.long))
    quality = compare_networks(network, network, [batch], OutputReader(("logits",)))
    assert quality.original_accuracy is None


def test_a_batch_of_padding_alone_costs_nothing() -> None:
    inputs = {**INPUTS, "attention_mask": torch.zeros(2, 3)}
    network = Scaled(1.0, 3.0)
    reader = reader_for(network, ["logits"])
    assert not reader.read(network, lambda: network(**inputs), inputs).any()
    fidelity = compare_networks(network, Scaled(2.0, 3.0), [InputBatch(inputs)], reader).fidelity
    assert fidelity.outputs[0].relative_error == 0.0
