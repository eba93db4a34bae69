"""The one entry: a checkpoint, options and perhaps data in; a `.nern` file and its report out."""

import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import torch
from torch import Tensor

from nern_core.checkpoint import Checkpoint, find_tied, read_checkpoint
from nern_core.codec import Document, Encoding, write_encoding
from nern_core.codec.document import Source
from nern_core.datasets import ImageSet, dataset_preprocessing, read_image_set
from nern_core.decode import decode
from nern_core.digest import file_sha256
from nern_core.errors import NernError
from nern_core.evaluate import accuracy
from nern_core.fit import FitReport, fit
from nern_core.kernel_policy import default_hidden_size
from nern_core.kernels import KernelLayer, select_layers
from nern_core.options import Device, EncodeOptions
from nern_core.predictor import Predictor, PredictorConfig
from nern_core.progress import OnProgress, Phase, Progress
from nern_core.recipes import RECIPES, Recipe
from nern_core.report import CurvePoint, Report, make_report
from nern_core.targets import Targets, make_targets
from nern_core.training.clock import Budget
from nern_core.training.teacher import StrongerTeacher, Teacher, read_stronger_teacher
from nern_core.zoo import Architecture, Preprocessing, build_network, find_architecture

# Where the training phases lie in the fraction that progress tells.
_TRAINING_STARTS = 0.05
_TRAINING_ENDS = 0.95


@dataclass(frozen=True, slots=True)
class EncodingResult:
    """What an encoding gives beside its file: the report, and the checkpoint decoded from the finished file."""

    report: Report
    decoded: Checkpoint


@dataclass(frozen=True, slots=True)
class _Input:
    """What is read before anything is computed."""

    checkpoint: Checkpoint
    source: Source
    layers: tuple[KernelLayer, ...]
    tied: Mapping[str, str]
    architecture: Architecture | None
    training_images: ImageSet | None
    test_images: ImageSet | None
    preprocessing: Preprocessing | None


@dataclass(slots=True)
class _Stopwatch:
    """Seconds by phase."""

    seconds: dict[str, float] = field(default_factory=dict)

    @contextmanager
    def measure(self, phase: Phase) -> Iterator[None]:
        started = time.perf_counter()
        yield
        self.seconds[phase.value] = time.perf_counter() - started


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
    the original, or of the `stronger_teacher`. The accuracies in the report are
    those of the original and of the weights decoded from the finished file, once, on the test split.
    Raises `NernError` for input that cannot be encoded.
    """
    recipe = recipe or RECIPES[options.recipe]
    device = _device(options.device)
    stopwatch = _Stopwatch()
    on_progress(Progress(phase=Phase.READING))
    with stopwatch.measure(Phase.READING):
        source = _read(checkpoint, options)
        teacher = _teacher(source, device, options, recipe, stronger_teacher)
        targets = make_targets(
            source.checkpoint.tensors,
            source.layers,
            options.permutation,
            scaled=recipe.scaled_targets,
            tied=source.tied,
        )
        predictor = _new_predictor(recipe, options, source.layers)
    on_progress(Progress(phase=Phase.RECONSTRUCTION, fraction=_TRAINING_STARTS))
    curve: list[CurvePoint] = []
    stopwatch.seconds |= _train(recipe, options, predictor.to(device), targets.to(device), teacher, curve, on_progress)
    on_progress(Progress(phase=Phase.WRITING, fraction=_TRAINING_ENDS))
    with stopwatch.measure(Phase.WRITING):
        contents = _encoding(recipe, options, predictor, targets, source)
        write_encoding(contents, encoding)
        decoded = decode(encoding)
    on_progress(Progress(phase=Phase.EVALUATION, fraction=_TRAINING_ENDS))
    with stopwatch.measure(Phase.EVALUATION):
        original_accuracy = _accuracy(source, source.checkpoint, device)
        reconstructed_accuracy = _accuracy(source, decoded, device)
    on_progress(Progress(phase=Phase.EVALUATION, fraction=1.0))
    report = make_report(
        encoding,
        contents,
        source.checkpoint.tensors,
        decoded.tensors,
        original_accuracy=original_accuracy,
        reconstructed_accuracy=reconstructed_accuracy,
        seconds=stopwatch.seconds,
        curve=curve,
    )
    return EncodingResult(report, decoded)


def _device(device: Device) -> torch.device:
    if device is Device.CPU:
        return torch.device("cpu")
    if not torch.cuda.is_available():
        raise NernError("no_gpu", "No GPU can be used here; choose the device `cpu`.")
    return torch.device("cuda")


def _read(path: Path, options: EncodeOptions) -> _Input:
    """Read the checkpoint and the data, and check that they fit each other before any work is done."""
    checkpoint = read_checkpoint(path)
    source = Source(sha256=file_sha256(path), bytes=path.stat().st_size)
    tied = find_tied(checkpoint.tensors)
    if options.architecture is None:
        layers = select_layers(checkpoint.tensors, options.kernels, options.hidden_size, tied=tied)
        return _Input(checkpoint, source, layers, tied, None, None, None, None)
    architecture = find_architecture(options.architecture)
    # The network's own order of layers: a safetensors file has lost it.
    network_order = build_network(architecture, checkpoint.tensors).state_dict()
    order = [name for name in network_order if name in checkpoint.tensors]
    layers = select_layers(checkpoint.tensors, options.kernels, options.hidden_size, order=order, tied=tied)
    if options.dataset is None:
        return _Input(checkpoint, source, layers, tied, architecture, None, None, None)
    folder = Path(options.dataset)
    return _Input(
        checkpoint=checkpoint,
        source=source,
        layers=layers,
        tied=tied,
        architecture=architecture,
        test_images=read_image_set(folder, "test"),
        training_images=read_image_set(folder, "train"),
        preprocessing=dataset_preprocessing(folder, architecture.preprocessing),
    )


def _new_predictor(recipe: Recipe, options: EncodeOptions, layers: tuple[KernelLayer, ...]) -> Predictor:
    hidden_size = options.hidden_size or default_hidden_size(sum(layer.weights for layer in layers))
    with torch.random.fork_rng():
        torch.manual_seed(options.seed)
        return Predictor(PredictorConfig(hidden_size=hidden_size, variant=recipe.predictor), layers)


def _train(
    recipe: Recipe,
    options: EncodeOptions,
    predictor: Predictor,
    targets: Targets,
    teacher: Teacher | None,
    curve: list[CurvePoint],
    on_progress: OnProgress,
) -> dict[str, float]:
    started = time.perf_counter()

    def on_step(report: FitReport) -> None:
        clock, loss = report.step.clock, report.step.loss
        seconds = time.perf_counter() - started
        step = report.earlier_steps + clock.step
        curve.append(CurvePoint(phase=report.phase, step=step, seconds=round(seconds, 3), loss=loss))
        done = report.start + report.share * clock.fraction
        on_progress(
            Progress(
                phase=report.phase,
                step=step,
                total=_total_steps(report),
                fraction=_TRAINING_STARTS + (_TRAINING_ENDS - _TRAINING_STARTS) * done,
                loss=loss,
                steps_per_second=clock.step / clock.elapsed,
                seconds_left=_seconds_left(clock.seconds_left, report, budget, seconds),
            )
        )

    budget = _budget(recipe, options)
    generator = torch.Generator().manual_seed(options.seed)
    return fit(recipe, predictor, targets, teacher, budget, generator, on_step, options.rounds)


def _budget(recipe: Recipe, options: EncodeOptions) -> Budget:
    if options.steps is None and options.seconds is None:
        return recipe.default_budget
    return Budget(steps=options.steps, seconds=options.seconds)


def _total_steps(report: FitReport) -> int | None:
    """Of all rounds of the phase, if those to come are as long as this one."""
    in_round = report.step.clock.total_steps
    return None if in_round is None else report.earlier_steps + in_round * (1 + report.later_rounds)


def _seconds_left(in_phase: float | None, report: FitReport, budget: Budget, seconds: float) -> float | None:
    """Of all training phases: exact for a budget in seconds, this phase's pace for one in steps."""
    if budget.seconds is not None:
        return max(0.0, budget.seconds - seconds)
    if in_phase is None:
        return None
    in_all = report.step.clock.elapsed + in_phase
    return in_phase + in_all / report.share * max(0.0, 1 - report.start - report.share)


def _teacher(
    source: _Input, device: torch.device, options: EncodeOptions, recipe: Recipe, stronger: StrongerTeacher | None
) -> Teacher | None:
    """The original network, if its architecture is known, and the stronger one, if that can teach here."""
    if stronger is not None:
        _refuse_stronger_teacher(source, options, recipe)
    if source.architecture is None:
        return None
    network = build_network(source.architecture, source.checkpoint.tensors, device)
    preprocessing = source.preprocessing or source.architecture.preprocessing
    better = None
    if stronger is not None and options.dataset is not None:
        better = read_stronger_teacher(stronger, network, preprocessing, Path(options.dataset))
    return Teacher(network=network, preprocessing=preprocessing, images=source.training_images, stronger=better)


def _refuse_stronger_teacher(source: _Input, options: EncodeOptions, recipe: Recipe) -> None:
    """Raise `NernError` where a stronger teacher has nothing to teach on or would not be listened to."""
    if source.training_images is None:
        raise NernError("teacher_without_data", "A stronger teacher teaches on images: name a `dataset` too.")
    if recipe.distillation.features.weight:
        raise NernError(
            "teacher_features",
            f"The recipe `{options.recipe}` compares feature maps, which a stronger teacher of another architecture "
            "does not share; choose the recipe `fast`, or leave the teacher out.",
        )


def _encoding(
    recipe: Recipe, options: EncodeOptions, predictor: Predictor, targets: Targets, source: _Input
) -> Encoding:
    tensors = source.checkpoint.tensors
    not_kept = {layer.name for layer in source.layers} | set(source.tied)
    stored = getattr(torch, recipe.stored_dtype)
    parameters: dict[str, Tensor] = {
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


def _accuracy(source: _Input, checkpoint: Checkpoint, device: torch.device) -> float | None:
    if source.architecture is None or source.test_images is None or source.preprocessing is None:
        return None
    network = build_network(source.architecture, checkpoint.tensors, device)
    return accuracy(network, source.test_images, source.preprocessing)
