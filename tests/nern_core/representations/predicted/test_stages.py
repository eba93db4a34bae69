from dataclasses import replace

import pytest
import torch

from nern_core.contract.options import Permutation
from nern_core.contract.progress import Phase
from nern_core.networks import build_network, find_architecture
from nern_core.networks.datasets import ImageSet, read_image_set
from nern_core.recipes import Recipe
from nern_core.recipes.fast import FAST
from nern_core.recipes.paper import PAPER
from nern_core.representations.predicted.predictor import Predictor, PredictorConfig
from nern_core.representations.predicted.stages import _reconstruction, train_predictor
from nern_core.representations.predicted.targets import Targets, make_targets
from nern_core.tensors.checkpoint import read_checkpoint
from nern_core.tensors.kernels import select_layers
from nern_core.training.clock import Budget
from nern_core.training.observer import TrainingStep
from nern_core.training.teacher import Teacher
from tests.conftest import DIGITS, EXAMPLE

ARCHITECTURE = find_architecture("digits-cnn")
TENSORS = read_checkpoint(EXAMPLE).tensors
SMALL = PredictorConfig(hidden_size=8)
WITHOUT_DATA = replace(FAST, images=replace(FAST.images, source="noise"))


def targets() -> Targets:
    return make_targets(TENSORS, select_layers(TENSORS), Permutation.CROSS_FILTER, scaled=True)


def teacher(images: ImageSet | None) -> Teacher:
    return Teacher(
        network=build_network(ARCHITECTURE, TENSORS), preprocessing=ARCHITECTURE.preprocessing, images=images
    )


def run(
    recipe: Recipe, teacher: Teacher | None, steps: int, rounds: int = 1
) -> tuple[Predictor, list[TrainingStep], dict[Phase, float]]:
    torch.manual_seed(0)
    subject, goal = Predictor(SMALL, select_layers(TENSORS)), targets()
    reports: list[TrainingStep] = []
    generator = torch.Generator().manual_seed(0)
    seconds = train_predictor(
        recipe.predictor, recipe.images, subject, goal, teacher, Budget(steps=steps), generator, reports.append, rounds
    )
    return subject, reports, seconds


def test_without_a_teacher_or_its_images_reconstruction_has_the_whole_budget() -> None:
    for subject in (None, teacher(None)):
        _, reports, seconds = run(FAST, subject, steps=10)
        assert set(seconds) == {"reconstruction"}
        assert (reports[-1].step.clock.step, reports[-1].start, reports[-1].share) == (10, 0.0, 1.0)
        assert reports[-1].kernels == 10 * min(
            FAST.predictor.reconstruction.sampling.kernels_per_step, targets().kernels
        )


def test_with_images_the_phases_share_the_budget() -> None:
    _, reports, seconds = run(FAST, teacher(read_image_set(DIGITS, "train")), steps=25)
    assert list(seconds) == ["reconstruction", "distillation"]
    last = {report.phase: report.step.clock.step for report in reports}
    assert last == {Phase.RECONSTRUCTION: 22, Phase.DISTILLATION: 3}


def test_noise_needs_no_images() -> None:
    _, reports, seconds = run(WITHOUT_DATA, teacher(None), steps=25)
    assert list(seconds) == ["reconstruction", "distillation"]
    assert reports[-1].phase is Phase.DISTILLATION


def test_rounds_share_the_budget_of_reconstruction_evenly() -> None:
    _, reports, _ = run(WITHOUT_DATA, teacher(None), steps=100, rounds=4)
    ends = {(report.phase, report.earlier_steps): report for report in reports}
    rounds = [ends[Phase.RECONSTRUCTION, earlier] for earlier in (0, 22, 44, 66)]
    assert [report.step.clock.step for report in rounds] == [22, 22, 22, 22]
    assert [report.total_steps for report in rounds] == [88, 88, 88, 88]
    assert [report.start for report in rounds] == pytest.approx([0.0, 0.1, 0.2, 0.3])
    assert [report.share for report in rounds] == pytest.approx([0.1] * 4)
    distillation = ends[Phase.DISTILLATION, 0]
    assert distillation.step.clock.step == 12
    assert distillation.start == pytest.approx(0.4)


def test_one_round_more_is_a_fresh_fit_to_what_the_last_one_reconstructed() -> None:
    settings = replace(FAST.predictor, reconstruction=replace(FAST.predictor.reconstruction, loss="rmse"))
    torch.manual_seed(0)
    subject, goal = Predictor(SMALL, select_layers(TENSORS)), targets()
    generator = torch.Generator().manual_seed(0)
    train_predictor(settings, FAST.images, subject, goal, None, Budget(steps=40), generator, lambda report: None)
    smooth = _reconstruction(subject, goal, generator)
    seed = int(torch.randint(2**62, (), generator=generator))
    torch.manual_seed(seed)
    fresh = Predictor(SMALL, select_layers(TENSORS))
    train_predictor(settings, FAST.images, fresh, smooth, None, Budget(steps=40), generator, lambda report: None)
    in_two_rounds, _, _ = run(replace(FAST, predictor=settings), None, steps=80, rounds=2)
    for name, parameter in in_two_rounds.named_parameters():
        assert torch.equal(parameter, fresh.get_parameter(name)), name


def test_a_reconstruction_has_the_kernels_that_are_predicted_in_coordinate_order() -> None:
    torch.manual_seed(0)
    subject, goal = Predictor(SMALL, select_layers(TENSORS)), targets()
    found = _reconstruction(subject, goal, torch.Generator())
    with torch.no_grad():
        expected = subject.at(goal.heads["3x3"].coordinates, "3x3")
    torch.testing.assert_close(found.heads["3x3"].kernels, expected)
    assert (found.orders, found.scale) == (goal.orders, goal.scale)


def test_the_last_round_and_distillation_have_one_schedule_in_the_published_recipe(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    windows: list[tuple[float, float]] = []
    monkeypatch.setattr(
        "nern_core.representations.predicted.stages.train",
        lambda loss, optimizers, clock, window, *_: windows.append(window),
    )
    run(PAPER, teacher(read_image_set(DIGITS, "train")), steps=10, rounds=2)
    half = PAPER.predictor.reconstruction.share.seconds / 2
    assert windows[0] == (0.0, 1.0)
    assert windows[1] == pytest.approx((0.0, half / (1 - half)))
    assert windows[2] == pytest.approx((half / (1 - half), (1 - 2 * half) / (1 - half)))
