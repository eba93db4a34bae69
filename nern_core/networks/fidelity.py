"""Measure the fidelity and the accuracy of a changed network, on batches of inputs or on logits."""

import math
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Final

import torch
from torch import Tensor, nn

from nern_core.contract.fidelity import Fidelity, OutputFidelity
from nern_core.networks.answers import AnswerMeter
from nern_core.networks.failed_batches import failures_named, refuse_not_finite
from nern_core.networks.input_batch import InputBatch
from nern_core.networks.model_inputs import ModelInputs, call, device_of, to_device
from nern_core.networks.outputs import NAME_OF_LOGITS, OutputReader, name_of_logits
from nern_core.networks.padding import without_padding

_DIGITS = 6
# Reported instead of an error that is not finite.
_LARGEST_ERROR = 1e6
# A lone output of two axes is taken for logits if the original is at least this certain on average: embeddings and
# estimated quantities are not.
_CERTAIN: Final = 0.3


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

    def add(
        self, original: dict[str, Tensor], changed: dict[str, Tensor], examples: int, labels: Tensor | None = None
    ) -> None:
        """Add the outputs of a batch by name, which may include answers; `labels`, int64 (n,), are its true classes."""
        self.add_outputs(original, changed, examples)
        if (logits := name_of_logits(original)) is not None:
            self.add_answers(logits, original[logits], changed[logits], labels)

    def add_outputs(self, original: Mapping[str, Tensor], changed: Mapping[str, Tensor], examples: int) -> None:
        """Add the outputs of a batch by name, without answers."""
        self._examples += examples
        for name, tensor in original.items():
            self._add_output(name, tensor.double().flatten(), changed[name].double().flatten())

    def add_answers(self, name: str, original: Tensor, changed: Tensor, labels: Tensor | None = None) -> None:
        """Add the logits of a batch, which the networks return under this name; `labels` are its true classes."""
        answers, others = original.argmax(dim=-1), changed.argmax(dim=-1)
        self._are_named = name.rpartition(".")[2] == NAME_OF_LOGITS
        self._certainty += _certainty(original)
        self._answers += answers.numel()
        self._equal += int((answers == others).sum())
        if labels is not None and labels.shape == answers.shape:
            self._labelled += len(labels)
            self._right += int((answers == labels).sum())
            self._still_right += int((others == labels).sum())

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
            Fidelity(examples=self._examples, outputs=outputs, agreement=agreement),
            _percentage(self._right, self._labelled) if has_accuracy else None,
            _percentage(self._still_right, self._labelled) if has_accuracy else None,
        )


def _certainty(logits: Tensor) -> float:
    """Sum over all answers the probability of the largest logit: 0 if all are equally probable, 1 if it is certain."""
    classes = logits.shape[-1]
    largest = logits.double().softmax(dim=-1).amax(dim=-1)
    return float(((largest - 1 / classes) / (1 - 1 / classes)).sum())


@torch.no_grad()
def compare_networks(
    original: nn.Module, changed: nn.Module, batches: Iterable[InputBatch], reader: OutputReader
) -> Quality:
    """Compare the outputs of two networks in evaluation mode on the same device, except for padding.

    Answers are those of the networks themselves, whatever the reader compares. Raises `NernError` (`bad_data`) if a
    network fails for a batch, or the original's outputs are not finite.
    """
    meter, answers = QualityMeter(), AnswerMeter(original, changed)
    device = device_of(original)
    for batch in batches:
        inputs = to_device(batch.inputs, device)
        with failures_named(inputs, (batch,)):
            (first, own), (second, changed_own) = (
                reader.named_and_own(network, partial(call, network, inputs)) for network in (original, changed)
            )
        reader.refuse_missing(first)
        own, changed_own = _comparable(own, changed_own)
        answers.add(inputs, own, changed_own)
        first, second = _comparable(first, second)
        expected = _without_padding(first, inputs)
        for tensor in expected.values():
            refuse_not_finite(tensor, inputs, (batch,))
        meter.add_outputs(expected, _without_padding(second, inputs), batch.examples)
        chosen = {name: tensor for name, tensor in own.items() if name in reader.names}
        logits = name_of_logits(own) or name_of_logits(chosen)
        if logits is not None:
            given, found = (without_padding(logits, of[logits], inputs).cpu() for of in (own, changed_own))
            meter.add_answers(logits, given, found, batch.labels)
    quality = meter.quality()
    return replace(quality, fidelity=quality.fidelity.model_copy(update=answers.figures()))


def _comparable(
    first: Mapping[str, Tensor], second: Mapping[str, Tensor]
) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """Return the outputs that both networks have in the same shape."""
    used = [name for name, tensor in first.items() if name in second and tensor.shape == second[name].shape]
    return {name: first[name] for name in used}, {name: second[name] for name in used}


def _without_padding(outputs: Mapping[str, Tensor], inputs: ModelInputs) -> dict[str, Tensor]:
    return {name: without_padding(name, tensor, inputs).cpu() for name, tensor in outputs.items()}


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
