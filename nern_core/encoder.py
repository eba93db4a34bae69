"""The main entry point: encode a checkpoint into a `.nern` file and a report."""

from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

import torch
from torch import nn

from nern_core.analysis.comparison import Comparison
from nern_core.analysis.report import make_report
from nern_core.contract.errors import NernError
from nern_core.contract.options import EncodeOptions, Tier
from nern_core.contract.progress import OnProgress, Phase, Progress
from nern_core.contract.report import Report
from nern_core.contract.verdict import accuracy_drop
from nern_core.decoder import decode
from nern_core.inputs.hub_network import read_hub_network
from nern_core.inputs.module import read_module
from nern_core.inputs.source import EncodingInput, read_input
from nern_core.inputs.task import EncodingTask, TrainingPlan
from nern_core.inputs.teacher import make_teacher
from nern_core.networks.architecture import Architecture
from nern_core.networks.transformers_models.names import is_transformers
from nern_core.recipes import RECIPES, Recipe
from nern_core.recipes.default_budget import choose_budget
from nern_core.representations.files import write_encoding
from nern_core.representations.registry import find_representation
from nern_core.training.clock import Budget
from nern_core.training.devices import torch_device
from nern_core.training.observer import TRAINING_ENDS, TrainingObserver
from nern_core.training.snapshots import RandomNumbers, Snapshots
from nern_core.training.stopwatch import Stopwatch
from nern_core.training.synthesis import SynthesisConfig, has_statistics, synthesize
from nern_core.training.teacher import StrongerTeacher, Teacher

DEFAULT_OPTIONS: Final = EncodeOptions()


@dataclass(frozen=True, slots=True)
class EncodingResult:
    """The results of an encoding besides its file: the report, and the original beside its decoding.

    The stopwatch is still running, so that later phases can be timed, too.
    """

    report: Report
    comparison: Comparison
    stopwatch: Stopwatch


# Images that the instant tier makes at most: they take most of its time.
_INSTANT_IMAGES = 128


def encode(
    checkpoint: Path | str | nn.Module,
    encoding: Path | str,
    options: EncodeOptions = DEFAULT_OPTIONS,
    on_progress: OnProgress = lambda progress: None,
    recipe: Recipe | None = None,
    stronger_teacher: StrongerTeacher | None = None,
    snapshots: Snapshots | None = None,
    started: float | None = None,
    inputs: Iterable[Any] | None = None,
) -> EncodingResult:
    """Encode the file or network `checkpoint` into the file `encoding`.

    A network is any module with its weights, which stays unchanged, or an ONNX file. `inputs` are batches as it takes
    them: tensors, tuples of arguments or dictionaries, with or without labels (see `networks.input_set`). They are used
    for distillation, except for a tenth of them, on which the fidelity is measured.

    `recipe` replaces the settings that `options.recipe` names. Distillation matches the logits of the original, or of
    the `stronger_teacher`. The accuracies in the report are those of the original and of the weights decoded from the
    finished file, measured once on the test split. With the `snapshots` of an interrupted encoding of the same file
    with the same options, this one resumes it; a budget in seconds then counts the training time of both. With a budget
    in steps, the file is the same as without an interruption. `started` is the start of the whole command on the clock
    of `time.perf_counter`; the report includes the seconds since then.

    Raises `NernError` for input that cannot be encoded and for a loss above `options.fail_over`, and `Interrupted` when
    the snapshots request it.
    """
    recipe = recipe or RECIPES[options.recipe]
    device = torch_device(options.device)
    stopwatch = Stopwatch(on_progress, started)
    stopwatch.begin(Phase.READING, at=0.0)
    encoding = Path(encoding)
    if isinstance(checkpoint, nn.Module):
        _refuse_file_options(options)
        source = read_module(checkpoint, options, inputs)
    elif is_transformers(options.architecture):
        source = read_hub_network(Path(checkpoint), options, inputs)
    else:
        source = read_input(Path(checkpoint), options, reads_training_images=not recipe.data_free, inputs=inputs)
    teacher = make_teacher(source, device, options, stronger_teacher, compares_features=recipe.compares_features)
    plan = _plan(options, recipe, source, teacher)
    budget = plan.budget
    generator = torch.Generator().manual_seed(options.seed)
    snapshots = snapshots or Snapshots()
    snapshots.include("generator", RandomNumbers(generator))
    if plan.synthesis is not None and teacher is not None and teacher.preprocessing and has_statistics(teacher.network):
        with stopwatch.training(Phase.SYNTHESIS, at=0.0) as seconds:
            size = teacher.image_preprocessing.input_size
            synthesized = synthesize(teacher.network, plan.synthesis, size, budget.seconds, generator, snapshots)
            seconds[Phase.SYNTHESIS] = synthesized.seconds
        teacher = replace(teacher, synthesized=synthesized.images)
        budget = budget.after(synthesized.seconds)
    observer = TrainingObserver(budget, on_progress)
    snapshots.include("observer", observer)
    task = EncodingTask(options=options, source=source, teacher=teacher, device=device)
    training = TrainingPlan(
        images=recipe.images,
        budget=budget,
        is_worthwhile=plan.is_worthwhile,
        generator=generator,
        observer=observer,
        stopwatch=stopwatch,
        snapshots=snapshots,
    )
    kind = options.representation_kind
    encoded = find_representation(kind).encode(task, training, recipe.settings(kind))
    stopwatch.begin(Phase.WRITING, at=TRAINING_ENDS)
    write_encoding(encoded.encoding, encoding)
    decoded = decode(encoding)
    stopwatch.begin(Phase.EVALUATION, at=TRAINING_ENDS)
    quality = source.quality(decoded.tensors, device)
    comparison = Comparison(
        original=source.checkpoint,
        encoding=encoded.encoding,
        decoded=decoded,
        path=encoding,
        source=None if isinstance(checkpoint, nn.Module) else Path(checkpoint),
    )
    report = make_report(
        comparison,
        quality=quality,
        curve=observer.curve,
        size_trials=encoded.size_trials,
        notes=(
            *source.notes,
            *encoded.notes,
            *_notes(options, plan, source.architecture, is_trained=bool(observer.curve)),
        ),
        recommended_steps=plan.recommended_steps if observer.curve else None,
    )
    _refuse_loss(report, options.fail_over)
    on_progress(Progress(phase=Phase.EVALUATION, fraction=1.0))
    return EncodingResult(report.with_seconds(stopwatch.seconds()), comparison, stopwatch)


def _refuse_file_options(options: EncodeOptions) -> None:
    """Raise `NernError` (`no_file`) for options that describe a checkpoint file, if a network is encoded."""
    given = [name for name in ("architecture", "dataset", "key") if getattr(options, name) is not None]
    if given:
        raise NernError("no_file", f"The option `{given[0]}` is for checkpoint files; omit it to encode a network.")


def _notes(
    options: EncodeOptions, plan: "_Plan", architecture: Architecture | None, *, is_trained: bool
) -> tuple[str, ...]:
    """Say that no images were made, or that a training budget was not used, and why."""
    is_other = architecture is not None and not architecture.is_classifier
    if plan.synthesis is not None and is_other:
        return ("No images were made, because that is possible for classifiers of images only; give a `dataset`.",)
    if is_trained or (options.steps is None and options.seconds is None and options.tier is not Tier.TRAINED):
        return ()
    if plan.synthesis is not None:
        why = "the network has no batch normalization, from which images could be made; give a `dataset`"
    elif is_other:
        why = "there are no inputs; give a `dataset`"
    else:
        why = "there are no images; give a `dataset`, or choose the recipe `data-free`"
    given = next((name for name in ("steps", "seconds") if getattr(options, name) is not None), None)
    unused = "" if given is None else f", and the budget in `{given}` not used"
    return (f"Nothing was trained{unused}: {why}.",)


def _refuse_loss(report: Report, most: float | None) -> None:
    """Raise `NernError` (`too_lossy`) if the encoding costs more points of accuracy than `most`."""
    verdict = report.metrics.verdict
    drop = accuracy_drop(report.metrics.original_accuracy, report.metrics.reconstructed_accuracy)
    if most is None or drop is None or drop <= most or verdict is None:
        return
    raise NernError(
        "too_lossy",
        f"The encoding of {report.metrics.file_bytes:,} bytes costs {drop:.2f} points of accuracy, more than the "
        f"limit of {most:g}. {verdict.advice or ''}".rstrip(),
    )


@dataclass(frozen=True, slots=True)
class _Plan:
    """The training budget, and the settings of synthesis if images are made from the network.

    `recommended_steps` is the default number of steps.
    """

    budget: Budget
    recommended_steps: int | None
    is_worthwhile: bool
    synthesis: SynthesisConfig | None


def _plan(options: EncodeOptions, recipe: Recipe, source: EncodingInput, teacher: Teacher | None) -> _Plan:
    """Return the requested budget, or the default."""
    if recipe.default_seconds is None:
        default, is_worthwhile, images = Budget(steps=recipe.default_steps), True, 0
    else:
        chosen = choose_budget(options, recipe, source, teacher, recipe.default_seconds)
        default, is_worthwhile, images = chosen.budget, chosen.is_worthwhile, chosen.synthesized_images
    synthesis = recipe.synthesis
    if options.seconds is not None:
        return _Plan(Budget(seconds=options.seconds), default.steps, is_worthwhile=True, synthesis=synthesis)
    if synthesis is not None and recipe.default_seconds is not None:
        synthesis = replace(synthesis, images=images)
    if synthesis is not None and options.tier is Tier.INSTANT:
        images = min(synthesis.images, _INSTANT_IMAGES)
        synthesis = replace(synthesis, images=images, images_per_batch=images)
    if options.steps is None:
        return _Plan(default, default.steps, is_worthwhile=is_worthwhile, synthesis=synthesis)
    if synthesis is not None and default.steps is not None:
        # Making images takes the same share of a small budget as of the default one, but at least a batch.
        part = round(synthesis.images * options.steps / default.steps)
        images = min(synthesis.images, max(part, synthesis.images_per_batch))
        synthesis = replace(synthesis, images=images)
    return _Plan(Budget(steps=options.steps), default.steps, is_worthwhile=True, synthesis=synthesis)
