"""Texts and numbers of jobs on the pages."""

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, Final

from app.datasets.stored_structure import ArrayView
from app.datasets.views import SplitView
from app.jobs.models import JobStatus
from app.jobs.schemas import JobView
from nern_core.contract.catalogue import RecipeName
from nern_core.contract.metrics import Metrics
from nern_core.contract.options import EncodeOptions
from nern_core.contract.progress import Phase
from nern_core.contract.verdict import VerdictLevel, accuracy_drop

_UNITS: Final = ("bytes", "KB", "MB", "GB", "TB")
_THOUSAND: Final = 1000
_MINUTE, _HOUR, _DAY = 60, 3600, 86400
# Meaning of each phase.
_PHASES: Final[Mapping[str, str]] = {
    Phase.STARTING: "Start the job's process",
    Phase.READING: "Read and check the file",
    Phase.SYNTHESIS: "Synthesize images from the network's statistics",
    Phase.ORDERING: "Order the kernels of each layer",
    Phase.QUANTIZATION: "Quantize the weights to integers",
    Phase.RECONSTRUCTION: "Train the predictor on the weights",
    Phase.DISTILLATION: "Distill the original into the reconstructed network",
    Phase.WRITING: "Write the results",
    Phase.EVALUATION: "Measure the accuracy",
    Phase.COMPARISON: "Measure alternatives for the report",
    Phase.IMPORTANCE: "Rank kernels by importance",
    Phase.PUBLICATION: "Store the results for download",
}
# Help texts for the form's defaults.
DEFAULT_SIZE: Final = (
    "With a data set: the smallest file with an estimated accuracy drop of at most 0.5 points. "
    "Without a data set: weights as precise as with int8."
)
DEFAULT_BUDGET: Final = (
    "A number of steps that follows from the network. On two cores, the digits example takes about half a minute, and "
    "a ResNet20 about eight minutes."
)
# Description of each artifact, by name.
_RESULTS: Final = {
    "weights.safetensors": "Reconstructed weights",
    "weights.pt": "Reconstructed weights for PyTorch",
    "weights.onnx": "Reconstructed ONNX file",
    "encoding.nern": "Compact representation",
    "report.json": "Report for programs",
    "report.html": "Report for people",
    "importance.json": "Kernels and filters by importance",
    "importance.safetensors": "All importance scores",
    "pruning-curve.svg": "Accuracy after pruning",
}


def size(count: float) -> str:
    """Format a number of bytes with three digits: `12.3 MB`."""
    for unit in _UNITS:
        # What is rounded to a thousand is one of the next unit.
        if float(f"{count:.3g}") < _THOUSAND or unit == _UNITS[-1]:
            return f"{count:,.0f} {unit}" if unit == _UNITS[0] else f"{figure(count)} {unit}"
        count /= _THOUSAND
    raise AssertionError


def figure(number: float, digits: int = 3) -> str:
    """Format a number rounded to some digits, or to a whole number that has more: `0.0123`, `12,345`."""
    text = f"{number:.{digits}g}"
    return f"{number:,.0f}" if "e+" in text else text


def duration(seconds: float) -> str:
    """Format a duration in its two largest units: `1 h 5 min`."""
    whole = round(seconds)
    if whole < _MINUTE:
        return f"{whole} s"
    if whole < _HOUR:
        return f"{whole // _MINUTE} min {whole % _MINUTE} s"
    if whole < _DAY:
        return f"{whole // _HOUR} h {whole % _HOUR // _MINUTE} min"
    return f"{whole // _DAY} d {whole % _DAY // _HOUR} h"


def moment(time: datetime) -> str:
    """Format a time in UTC, to the minute."""
    return f"{time:%Y-%m-%d %H:%M} UTC"


def title(job: JobView) -> str:
    """Name the network and the goal: `cifar-resnet20, compression ratio 20`."""
    if job.options is None:
        return "Weight reconstruction"
    if job.known_options is None:
        return "Encoding with options of a newer release"
    return f"{job.known_options.architecture or 'No architecture given'}, {goal(job.known_options)}"


def goal(options: EncodeOptions) -> str:
    """Describe the size that the options ask for."""
    if options.target_ratio is not None:
        return f"compression ratio {options.target_ratio:g}"
    if options.target_bytes is not None:
        return f"in {options.target_bytes:,} bytes"
    if options.max_drop is not None:
        return f"accuracy drop up to {options.max_drop:g} points"
    if options.hidden_size is not None:
        return f"hidden size {options.hidden_size}"
    return "default size" if options.representation_entry.takes_target else options.representation_kind


def result(job: JobView) -> str:
    """Summarize the result of a job: its size and accuracy, or its message."""
    if job.known_metrics is None:
        return job.message
    facts = [f"{job.known_metrics.ratio:.1f} times smaller than the tensors"]
    lost = accuracy_drop(job.known_metrics.original_accuracy, job.known_metrics.reconstructed_accuracy)
    if lost == 0:
        facts.append("as accurate")
    elif lost is not None:
        facts.append(f"{abs(lost):.2f} points {'less' if lost > 0 else 'more'} accurate")
    verdict = job.known_metrics.verdict
    if verdict is not None and verdict.level is not VerdictLevel.FAITHFUL:
        facts.append(verdict.level.value)
    return ", ".join(facts)


def sizes(metrics: Metrics) -> str:
    """Describe the file's size and what it holds: `5.3 KB for 19.2 KB of tensors`."""
    # Earlier results do not have the size of the tensors.
    held = f" for {size(metrics.tensor_bytes)} of tensors" if metrics.tensor_bytes else ""
    return f"{size(metrics.file_bytes)}{held}"


def result_name(name: str) -> str:
    """Describe an artifact."""
    return _RESULTS.get(name, name)


def elapsed(job: JobView) -> float:
    """Return the seconds from the start of the work to its end, or until now; 0 before the start."""
    return 0.0 if job.started_at is None else _seconds(job.started_at, job.finished_at)


def waiting(job: JobView) -> float:
    """Return the seconds since a queued job was submitted."""
    return _seconds(job.created_at, None)


def _seconds(start: datetime, end: datetime | None) -> float:
    # The clock of the database may be ahead of this machine's.
    return max(0.0, ((end or datetime.now(UTC)) - start).total_seconds())


def phases(job: JobView) -> list[Mapping[str, Any]]:
    """Return the phases of a job: name, meaning, and state (`done`, `now` or `next`)."""
    is_known = job.options is None or job.known_options is not None
    expected = {phase.value for phase in _expected(job.known_options)} if is_known else set()
    names = [phase.value for phase in Phase if phase in expected | {job.phase}]
    if job.phase is not None and job.phase not in names:
        # A newer worker may have phases that this process does not know.
        names.append(job.phase)
    has_succeeded = job.status == JobStatus.SUCCEEDED
    at = len(names) if has_succeeded else names.index(job.phase) if job.phase is not None else -1
    return [
        {
            "name": name,
            "meaning": _PHASES.get(name, ""),
            "state": "done" if index < at else "now" if index == at else "next",
        }
        for index, name in enumerate(names)
    ]


def _expected(options: EncodeOptions | None) -> list[Phase]:
    """Return the phases of an encoding with these options; None: those of a reconstruction."""
    if options is None:
        return [Phase.STARTING, Phase.READING, Phase.WRITING, Phase.PUBLICATION]
    makes_images = options.recipe == RecipeName.DATA_FREE
    expected = [Phase.STARTING, Phase.READING]
    expected += [Phase.SYNTHESIS] if makes_images else []
    expected += options.representation_entry.phases
    expected += [Phase.DISTILLATION] if options.dataset or makes_images else []
    expected += [Phase.WRITING, Phase.EVALUATION, Phase.COMPARISON]
    expected += [Phase.IMPORTANCE] if options.importance else []
    return [*expected, Phase.PUBLICATION]


def arrays(found: Sequence[ArrayView]) -> str:
    """Format the arrays of a data set: `640 of ids, mask`."""
    return f"{found[0].shape[0]:,} of {', '.join(array.name.removeprefix('inputs.') for array in found)}"


def images(split: SplitView) -> str:
    """Format the number and size of images: `50,000 of 32 by 32`."""
    if split.images is None:
        return "unknown"
    return f"{split.images:,}" if split.shape is None else f"{split.images:,} of {split.shape[0]} by {split.shape[1]}"
