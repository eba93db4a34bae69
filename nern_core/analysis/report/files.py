"""Compare a checkpoint with its encoding, from the files alone or with the report of the training."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Any

import torch
from pydantic import ValidationError
from torch import Tensor

from nern_core.analysis.baselines import Alternative, standard_codecs
from nern_core.analysis.comparison import Comparison, any_evaluator_of
from nern_core.analysis.report.measure import describe_lost, make_report
from nern_core.contract.errors import NernError
from nern_core.contract.options import ANY_ARCHITECTURE
from nern_core.contract.report import AlternativeReport, Report
from nern_core.networks.evaluate import Evaluator
from nern_core.networks.input_evaluator import InputEvaluator
from nern_core.tensors.digest import file_sha256

_CPU = torch.device("cpu")


@dataclass(frozen=True, kw_only=True, slots=True)
class MeasuredComparison:
    """A checkpoint with its encoding, and all measurements of them."""

    comparison: Comparison
    report: Report


def measure_comparison(
    comparison: Comparison,
    *,
    trained: Report | None = None,
    architecture: str | None = None,
    dataset: Path | None = None,
    others: Iterable[Alternative] = (),
    failed: Mapping[str, str] | None = None,
    device: torch.device = _CPU,
) -> MeasuredComparison:
    """Measure this encoding, the standard codecs and the `others`; the report says why those in `failed` failed.

    `trained` is the report written during encoding, which contains the training curve. With `dataset`, accuracies are
    measured on its test split: those of the alternatives and, unless `trained` was measured on the same data set, of
    the original and of the encoding. Alternatives in `trained` stay, unless they are measured again or on other data.
    `architecture` is needed if the encoding names none.

    Raises `NernError` (`another_encoding`) if `trained` belongs to another file, and if the data do not fit.
    """
    if trained is not None and trained.encoding_sha256 != file_sha256(comparison.path):
        raise NernError(
            "another_encoding",
            f"The report is not of '{comparison.path.name}'; give the one that was written when that file was encoded.",
        )
    report = trained or make_report(comparison, quality=None, curve=())
    evaluator = None if dataset is None else any_evaluator_of(comparison, architecture, dataset, device)
    is_measured = evaluator is not None and _is_measured(trained, comparison, architecture, dataset)
    original = comparison.original.tensors
    measured = [_measure(other, original, evaluator) for other in chain(standard_codecs(original), others)]
    known = report.alternatives if evaluator is None or is_measured else ()
    # Without data, earlier measurements take precedence, because they may include accuracies.
    rows = (measured, known) if evaluator is None else (known, measured)
    changes: dict[str, Any] = {"alternatives": tuple({row.name: row for row in chain(*rows)}.values())}
    names = {row.name for row in changes["alternatives"]}
    every_failure = {**report.failed_alternatives, **(failed or {})}
    changes["failed_alternatives"] = {name: why for name, why in every_failure.items() if name not in names}
    if evaluator is not None and not is_measured:
        quality = evaluator.compare(original, comparison.decoded.tensors)
        found: dict[str, Any] = {
            "original_accuracy": quality.original_accuracy,
            "reconstructed_accuracy": quality.reconstructed_accuracy,
            "fidelity": quality.fidelity,
            "notes": tuple(dict.fromkeys([*describe_lost(report.layers), *report.metrics.notes])),
        }
        changes["metrics"] = report.metrics.model_copy(update=found)
    return MeasuredComparison(comparison=comparison, report=report.model_copy(update=changes).judged())


def _is_measured(
    trained: Report | None, comparison: Comparison, architecture: str | None, dataset: Path | None
) -> bool:
    """Return True if `trained` was measured with the same architecture on the same data set."""
    if trained is None or trained.options.dataset is None:
        return False
    # An ONNX file has no architecture by name.
    name = architecture or comparison.encoding.document.architecture
    return Path(trained.options.dataset) == dataset and trained.options.architecture == name


def read_report(path: Path) -> Report:
    """Read a `report.json`. Raises `NernError` (`not_a_report`)."""
    try:
        return Report.model_validate_json(path.read_bytes(), context={ANY_ARCHITECTURE})
    except (ValidationError, OSError) as error:
        raise NernError(
            "not_a_report", f"'{path.name}' is not a report of this version; `nern encode --report` writes one."
        ) from error


def _measure(
    alternative: Alternative, original: Mapping[str, Tensor], evaluator: Evaluator | InputEvaluator | None
) -> AlternativeReport:
    accuracy, error = None, None
    if isinstance(evaluator, InputEvaluator):
        quality = evaluator.compare(original, alternative.tensors)
        accuracy, error = quality.reconstructed_accuracy, quality.fidelity.relative_error
    elif evaluator is not None:
        accuracy = evaluator.accuracy(alternative.tensors)
    return AlternativeReport(
        name=alternative.name,
        bytes=alternative.bytes,
        accuracy=accuracy,
        output_error=error,
        seconds=alternative.seconds,
    )
