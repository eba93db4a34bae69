"""Compare a checkpoint with its encoding, from the files alone or with the report of the training."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Any

import torch
from pydantic import ValidationError

from nern_core.analysis.baselines import Alternative, standard_codecs
from nern_core.analysis.comparison import Comparison, any_evaluator_of, architecture_name
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
    # An ONNX file has no architecture by name, and its fidelity was measured during encoding.
    data = None if comparison.original.graph is not None else dataset
    evaluator = None if data is None else any_evaluator_of(comparison, architecture, data, device)
    is_measured = evaluator is not None and _is_measured(trained, comparison, architecture, dataset)
    measured = [_measure(other, evaluator) for other in chain(standard_codecs(comparison.original.tensors), others)]
    known = report.alternatives if evaluator is None or is_measured else ()
    # Without data, earlier measurements take precedence, because they may include accuracies.
    rows = (measured, known) if evaluator is None else (known, measured)
    changes: dict[str, Any] = {"alternatives": tuple({row.name: row for row in chain(*rows)}.values())}
    names = {row.name for row in changes["alternatives"]}
    every_failure = {**report.failed_alternatives, **(failed or {})}
    changes["failed_alternatives"] = {name: why for name, why in every_failure.items() if name not in names}
    if evaluator is not None and not is_measured:
        quality = evaluator.compare(comparison.original.tensors, comparison.decoded.tensors)
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
    name = architecture_name(comparison.encoding, architecture)
    return Path(trained.options.dataset) == dataset and trained.options.architecture == name


def read_report(path: Path) -> Report:
    """Read a `report.json`. Raises `NernError` (`not_a_report`)."""
    try:
        return Report.model_validate_json(path.read_bytes(), context={ANY_ARCHITECTURE})
    except (ValidationError, OSError) as error:
        raise NernError(
            "not_a_report", f"'{path.name}' is not a report of this version; `nern encode --report` writes one."
        ) from error


def _measure(alternative: Alternative, evaluator: Evaluator | InputEvaluator | None) -> AlternativeReport:
    return AlternativeReport(
        name=alternative.name,
        bytes=alternative.bytes,
        accuracy=None if evaluator is None else evaluator.accuracy(alternative.tensors),
        seconds=alternative.seconds,
    )
