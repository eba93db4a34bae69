"""Measure the fidelity and the accuracy of a changed network, on batches of inputs or on logits."""

import math
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from nern_core.contract.fidelity import Fidelity, OutputFidelity
from nern_core.networks.input_set import InputBatch
from nern_core.networks.model_inputs import ModelInputs, call, to_device
from nern_core.networks.outputs import OutputReader
from nern_core.networks.padding import without_padding

_DIGITS = 6
# Reported instead of an error that is not finite.
_LARGEST_ERROR = 1e6
LOGITS: Final = "logits"
_AXES_OF_LOGITS: Final = 2
# A lone output of two axes is taken for logits if the original is at least this certain on average: embeddings and
# estimated quantities are not.
_CERTAIN: Final = 0.3
# Ends of the names of causal language models in transformers.
_CAUSAL: Final = ("ForCausalLM", "LMHeadModel")
# exp(200), about 7e86, is reported instead of larger perplexities, and of those that are no numbers.
_MOST_NATS: Final = 200.0


@dataclass(frozen=True, slots=True)
class Quality:
    """The measured quality of a changed network: its fidelity, and accuracies in percent (None without labels)."""

    fidelity: Fidelity
    original_accuracy: float | None
    reconstructed_accuracy: float | None


class QualityMeter:
    """Sums up outputs of an original and of a changed network, batch by batch."""

    def __init__(self) -> None:
        self._sums: dict[str, list[float]] = defaultdict(lambda: [0.0, 0.0, 0.0, 0.0])
        self._examples = 0
        self._answers = self._equal = 0
        # Of outputs that may be logits: how certain the original is of its answers, 0 to 1.
        self._certainty = 0.0
        self._are_named = False
        self._labelled = self._right = self._still_right = 0
        self._tokens = 0
        self._surprisal = self._changed_surprisal = 0.0

    def add(
        self, original: dict[str, Tensor], changed: dict[str, Tensor], examples: int, labels: Tensor | None = None
    ) -> None:
        """Add the outputs of a batch by name; `labels`, int64 (n,), are its true classes."""
        self._examples += examples
        for name, tensor in original.items():
            self._add_output(name, tensor.double().flatten(), changed[name].double().flatten())
        logits = _name_of_logits(original)
        if logits is None:
            return
        answers, others = original[logits].argmax(dim=-1), changed[logits].argmax(dim=-1)
        self._are_named = logits.rpartition(".")[2] == LOGITS
        self._certainty += _certainty(original[logits])
        self._answers += answers.numel()
        self._equal += int((answers == others).sum())
        if labels is not None and labels.shape == answers.shape:
            self._labelled += len(labels)
            self._right += int((answers == labels).sum())
            self._still_right += int((others == labels).sum())

    def add_tokens(self, original: Tensor, changed: Tensor, tokens: Tensor, mask: Tensor | None) -> None:
        """Add the logits (n, t, words) of causal language models for tokens (n, t); `mask` is 0 at padding."""
        counted = torch.ones_like(tokens[:, 1:]) if mask is None else mask[:, 1:] * mask[:, :-1]
        self._tokens += int((counted != 0).sum())
        self._surprisal += _surprisal(original, tokens, counted)
        self._changed_surprisal += _surprisal(changed, tokens, counted)

    def _add_output(self, name: str, original: Tensor, changed: Tensor) -> None:
        error = float((changed - original).square().sum())
        norms = float(original.square().sum()), float(changed.square().sum())
        for index, value in enumerate((error, *norms, float(original @ changed))):
            self._sums[name][index] += value

    def quality(self) -> Quality:
        """Return the result for everything added."""
        outputs = tuple(_output_fidelity(name, sums) for name, sums in self._sums.items())
        has_answers = self._answers > 0
        has_accuracy = has_answers and self._labelled == self._answers
        are_logits = self._are_named or has_accuracy or self._certainty >= _CERTAIN * self._answers
        agreement = _percentage(self._equal, self._answers) if has_answers and are_logits else None
        return Quality(
            Fidelity(
                examples=self._examples,
                outputs=outputs,
                agreement=agreement,
                original_perplexity=_perplexity(self._surprisal, self._tokens),
                reconstructed_perplexity=_perplexity(self._changed_surprisal, self._tokens),
            ),
            _percentage(self._right, self._labelled) if has_accuracy else None,
            _percentage(self._still_right, self._labelled) if has_accuracy else None,
        )


def _name_of_logits(outputs: Mapping[str, Tensor]) -> str | None:
    """Return the output that holds logits: that of this name, or a lone one of two axes; None if there is none."""
    named = next((name for name in outputs if name.rpartition(".")[2] == LOGITS and outputs[name].ndim > 1), None)
    if named is None and len(outputs) == 1:
        ((only, tensor),) = outputs.items()
        return only if tensor.ndim == _AXES_OF_LOGITS and tensor.shape[1] > 1 else None
    return named


def _certainty(logits: Tensor) -> float:
    """Sum over all answers the probability of the largest logit: 0 if all are equally probable, 1 if it is certain."""
    classes = logits.shape[-1]
    largest = logits.double().softmax(dim=-1).amax(dim=-1)
    return float(((largest - 1 / classes) / (1 - 1 / classes)).sum())


def _surprisal(logits: Tensor, tokens: Tensor, counted: Tensor) -> float:
    """Return the negative log-likelihood in nats of the counted tokens after the first of each row."""
    lost = F.cross_entropy(logits[:, :-1].transpose(1, 2).double(), tokens[:, 1:].long(), reduction="none")
    return float(lost[counted != 0].sum())


def _perplexity(surprisal: float, tokens: int) -> float | None:
    """Return the perplexity, rounded, and at most a finite number; None without tokens."""
    if not tokens:
        return None
    nats = surprisal / tokens
    return round(math.exp(min(nats, _MOST_NATS)), _DIGITS) if not math.isnan(nats) else math.exp(_MOST_NATS)


def _tokens_of(network: nn.Module, inputs: ModelInputs, logits: Tensor | None) -> tuple[Tensor, Tensor | None] | None:
    """Return the tokens that a causal language model predicts, and their mask; None for any other network."""
    if not type(network).__name__.endswith(_CAUSAL) or not isinstance(inputs, Mapping) or logits is None:
        return None
    tokens, mask = inputs.get("input_ids"), inputs.get("attention_mask")
    if not isinstance(tokens, Tensor) or tokens.ndim != 2 or logits.shape[:-1] != tokens.shape or tokens.shape[1] < 2:
        return None
    if int(tokens.max()) >= logits.shape[-1] or int(tokens.min()) < 0:
        return None
    return tokens, mask if isinstance(mask, Tensor) and mask.shape == tokens.shape else None


@torch.no_grad()
def compare_networks(
    original: nn.Module, changed: nn.Module, batches: Iterable[InputBatch], reader: OutputReader
) -> Quality:
    """Compare the outputs of two networks in evaluation mode on the same device, except for padding."""
    meter = QualityMeter()
    device = next(original.parameters()).device
    for batch in batches:
        inputs = to_device(batch.inputs, device)
        first, second = (_outputs(network, inputs, reader) for network in (original, changed))
        used = [name for name, tensor in first.items() if name in second and tensor.shape == second[name].shape]
        meter.add(
            {name: without_padding(name, first[name], inputs).cpu() for name in used},
            {name: without_padding(name, second[name], inputs).cpu() for name in used},
            batch.examples,
            batch.labels,
        )
        if (predicted := _tokens_of(original, inputs, first.get(LOGITS))) is not None:
            meter.add_tokens(first[LOGITS], second[LOGITS], *predicted)
    return meter.quality()


def _outputs(network: nn.Module, inputs: ModelInputs, reader: OutputReader) -> dict[str, Tensor]:
    return reader.named(network, lambda: call(network, inputs))


def _output_fidelity(name: str, sums: Sequence[float]) -> OutputFidelity:
    error, original, changed, product = sums
    norms = math.sqrt(original) * math.sqrt(changed)
    relative = math.sqrt(error / original) if original else float(error > 0)
    return OutputFidelity(
        name=name,
        relative_error=round(min(relative, _LARGEST_ERROR), _DIGITS) if math.isfinite(relative) else _LARGEST_ERROR,
        cosine=round(product / norms, _DIGITS) if norms and math.isfinite(product / norms) else float(not error),
    )


def _percentage(part: int, whole: int) -> float:
    return 100 * part / whole
