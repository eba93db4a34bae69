"""The one entry: a checkpoint, options and perhaps data in; a `.nern` file and its report out."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path

import torch

from nern_core.codec import Document, Encoding, write_encoding
from nern_core.decode import decode
from nern_core.devices import torch_device
from nern_core.encoding_input import EncodingInput, make_teacher, read_input
from nern_core.fit import fit
from nern_core.kernel_policy import default_hidden_size
from nern_core.kernels import KernelLayer
from nern_core.observer import TRAINING_ENDS, TRAINING_STARTS, TrainingObserver
from nern_core.options import EncodeOptions
from nern_core.pair import Pair
from nern_core.predictor import Predictor, PredictorConfig
from nern_core.progress import OnProgress, Phase, Progress
from nern_core.recipes import RECIPES, Recipe
from nern_core.report import Report, make_report
from nern_core.targets import Targets, make_targets
from nern_core.training.clock import Budget
from nern_core.training.synthesis import has_statistics, synthesize
from nern_core.training.teacher import StrongerTeacher, Teacher


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
) -> EncodingResult:
    """Encode the file `checkpoint` into the file `encoding`.

    `recipe` takes the place of the settings that `options.recipe` names. Distillation matches the logits of
    the original, or of the `stronger_teacher`. The accuracies in the report are those of the original and
    of the weights decoded from the finished file, once, on the test split.
    Raises `NernError` for input that cannot be encoded.
    """
    recipe = recipe or RECIPES[options.recipe]
    device = torch_device(options.device)
    stopwatch = _Stopwatch(on_progress)
    with stopwatch.measure(Phase.READING, at=0.0):
        source = read_input(checkpoint, options, recipe)
        teacher = make_teacher(source, device, options, recipe, stronger_teacher)
        targets = make_targets(
            source.checkpoint.tensors,
            source.layers,
            options.permutation,
            scaled=recipe.scaled_targets,
            tied=source.tied,
        )
        predictor = _new_predictor(recipe, options, source.layers)
    budget = _budget(recipe, options)
    generator = torch.Generator().manual_seed(options.seed)
    if recipe.synthesis is not None and teacher is not None and has_statistics(teacher.network):
        with stopwatch.measure(Phase.SYNTHESIS, at=0.0):
            teacher = _with_synthesized_images(teacher, recipe, budget, generator)
        budget = budget.after(stopwatch.seconds[Phase.SYNTHESIS.value])
    on_progress(Progress(phase=Phase.RECONSTRUCTION, fraction=TRAINING_STARTS))
    observer = TrainingObserver(budget, on_progress)
    stopwatch.seconds |= fit(
        recipe, predictor.to(device), targets.to(device), teacher, budget, generator, observer, options.rounds
    )
    with stopwatch.measure(Phase.WRITING, at=TRAINING_ENDS):
        contents = _encoding(recipe, options, predictor, targets, source)
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
    )
    return EncodingResult(report, pair)


@dataclass(slots=True)
class _Stopwatch:
    """Seconds by phase; tells when one begins."""

    on_progress: OnProgress
    seconds: dict[str, float] = field(default_factory=dict)

    @contextmanager
    def measure(self, phase: Phase, *, at: float) -> Iterator[None]:
        self.on_progress(Progress(phase=phase, fraction=at))
        started = time.perf_counter()
        yield
        self.seconds[phase.value] = time.perf_counter() - started


def _new_predictor(recipe: Recipe, options: EncodeOptions, layers: tuple[KernelLayer, ...]) -> Predictor:
    hidden_size = options.hidden_size or default_hidden_size(sum(layer.weights for layer in layers))
    with torch.random.fork_rng():
        torch.manual_seed(options.seed)
        return Predictor(PredictorConfig(hidden_size=hidden_size, variant=recipe.predictor), layers)


def _budget(recipe: Recipe, options: EncodeOptions) -> Budget:
    if options.steps is None and options.seconds is None:
        return recipe.default_budget
    return Budget(steps=options.steps, seconds=options.seconds)


def _with_synthesized_images(teacher: Teacher, recipe: Recipe, budget: Budget, generator: torch.Generator) -> Teacher:
    assert recipe.synthesis is not None
    size = teacher.preprocessing.input_size
    images = synthesize(teacher.network, recipe.synthesis, size, budget.seconds, generator)
    return replace(teacher, synthesized=images)


def _encoding(
    recipe: Recipe, options: EncodeOptions, predictor: Predictor, targets: Targets, source: EncodingInput
) -> Encoding:
    tensors = source.checkpoint.tensors
    not_kept = {layer.name for layer in source.layers} | set(source.tied)
    stored = getattr(torch, recipe.stored_dtype)
    parameters: dict[str, torch.Tensor] = {
        name: parameter.detach().cpu().to(stored).contiguous() for name, parameter in predictor.named_parameters()
    }
    return Encoding(
        document=Document(
            architecture=options.architecture,
            options=options,
            predictor=predictor.config,
            permutation=options.permutation,
            scale=targets.scale,
            layers=source.layers,
            tied=dict(source.tied),
            tensor_order=tuple(tensors),
            source=source.source,
        ),
        predictor=parameters,
        orders=targets.orders,
        kept={name: tensor for name, tensor in tensors.items() if name not in not_kept},
    )
