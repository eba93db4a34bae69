"""The one entry: a checkpoint, options and perhaps data in; a `.nern` file and its report out."""

from dataclasses import dataclass, replace
from pathlib import Path

import torch

from nern_core.codec import write_encoding
from nern_core.decode import decode
from nern_core.devices import torch_device
from nern_core.encoding_input import make_teacher, read_input
from nern_core.encoding_run import EncodingRun, Stopwatch
from nern_core.observer import TRAINING_ENDS, TrainingObserver
from nern_core.options import EncodeOptions
from nern_core.pair import Pair
from nern_core.predicted_encoding import predict
from nern_core.progress import OnProgress, Phase, Progress
from nern_core.quantized_encoding import quantize_to_size
from nern_core.recipes import RECIPES, Recipe
from nern_core.report import Report, SizeTrial, make_report
from nern_core.snapshots import RandomNumbers, Snapshots
from nern_core.training.clock import Budget
from nern_core.training.synthesis import has_statistics, synthesize
from nern_core.training.teacher import StrongerTeacher


@dataclass(frozen=True, slots=True)
class EncodingResult:
    """What an encoding gives beside its file: the report, and the pair with what the finished file decodes to."""

    report: Report
    pair: Pair


def encode(
    checkpoint: Path,
    encoding: Path,
    options: EncodeOptions,
    on_progress: OnProgress = lambda progress: None,
    recipe: Recipe | None = None,
    stronger_teacher: StrongerTeacher | None = None,
    snapshots: Snapshots | None = None,
) -> EncodingResult:
    """Encode the file `checkpoint` into the file `encoding`.

    `recipe` takes the place of the settings that `options.recipe` names. Distillation matches the logits of
    the original, or of the `stronger_teacher`. The accuracies in the report are those of the original and
    of the weights decoded from the finished file, once, on the test split. With the `snapshots` of an encoding
    of the same file with the same options, this one goes on where that one stopped; a budget in seconds then
    counts what both have trained. With a budget in steps, the file is that of an encoding that never stopped.
    Raises `NernError` for input that cannot be encoded, and `Interrupted` when the snapshots say so.
    """
    recipe = recipe or RECIPES[options.recipe]
    device = torch_device(options.device)
    stopwatch = Stopwatch(on_progress)
    with stopwatch.measure(Phase.READING, at=0.0):
        source = read_input(checkpoint, options, recipe)
        teacher = make_teacher(source, device, options, recipe, stronger_teacher)
    budget = _budget(recipe, options)
    generator = torch.Generator().manual_seed(options.seed)
    snapshots = snapshots or Snapshots()
    snapshots.include("generator", RandomNumbers(generator))
    if recipe.synthesis is not None and teacher is not None and has_statistics(teacher.network):
        on_progress(Progress(phase=Phase.SYNTHESIS))
        size = teacher.preprocessing.input_size
        synthesized = synthesize(teacher.network, recipe.synthesis, size, budget.seconds, generator, snapshots)
        stopwatch.add(Phase.SYNTHESIS, synthesized.seconds)
        teacher = replace(teacher, synthesized=synthesized.images)
        budget = budget.after(synthesized.seconds)
    observer = TrainingObserver(budget, on_progress)
    snapshots.include("observer", observer)
    run = EncodingRun(
        options=options,
        recipe=recipe,
        source=source,
        teacher=teacher,
        device=device,
        budget=budget,
        generator=generator,
        observer=observer,
        stopwatch=stopwatch,
        snapshots=snapshots,
    )
    size_trials: tuple[SizeTrial, ...] = ()
    if options.has_target:
        contents, size_trials = quantize_to_size(run)
    else:
        contents = predict(run)
    with stopwatch.measure(Phase.WRITING, at=TRAINING_ENDS):
        write_encoding(contents, encoding)
        decoded = decode(encoding)
    with stopwatch.measure(Phase.EVALUATION, at=TRAINING_ENDS):
        evaluator = source.evaluator(device)
        original_accuracy = None if evaluator is None else evaluator.accuracy(source.checkpoint.tensors)
        reconstructed_accuracy = None if evaluator is None else evaluator.accuracy(decoded.tensors)
    on_progress(Progress(phase=Phase.EVALUATION, fraction=1.0))
    pair = Pair(original=source.checkpoint, encoding=contents, decoded=decoded, path=encoding)
    report = make_report(
        pair,
        original_accuracy=original_accuracy,
        reconstructed_accuracy=reconstructed_accuracy,
        seconds=stopwatch.seconds,
        curve=observer.curve,
        size_trials=size_trials,
    )
    return EncodingResult(report, pair)


def _budget(recipe: Recipe, options: EncodeOptions) -> Budget:
    if options.steps is None and options.seconds is None:
        return recipe.default_budget
    return Budget(steps=options.steps, seconds=options.seconds)
