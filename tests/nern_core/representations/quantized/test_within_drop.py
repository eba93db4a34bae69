from collections.abc import Callable

import pytest
import torch

from nern_core.codec.steps import steps_of
from nern_core.recipes.fast import FAST
from nern_core.representations.quantized.drop_goal import DropGoal
from nern_core.representations.quantized.held_out_drop import Measured
from nern_core.representations.quantized.quantizer import Quantized, Quantizer
from nern_core.representations.quantized.rate import RateModel
from nern_core.representations.quantized.trainer import Stage, Trainer, TrainingInputs
from nern_core.representations.quantized.within_drop import SizeSearch, quantize_within_drop
from nern_core.tensors.checkpoint import read_checkpoint
from nern_core.tensors.kernels import select_layers
from nern_core.training.clock import Budget, Clock
from nern_core.training.expected_drop import PointsLost
from nern_core.training.snapshots import Snapshots
from tests.conftest import EXAMPLE
from tests.nern_core.digits_teacher import digits_teacher, images_of

TENSORS = read_checkpoint(EXAMPLE).tensors
LAYERS = select_layers(TENSORS)


def quantizer_and_training(stages: list[Stage] | None = None) -> tuple[Quantizer, TrainingInputs]:
    teacher = digits_teacher()
    training = TrainingInputs(
        config=FAST.quantization,
        teacher=teacher,
        images=images_of(teacher),
        budget=Budget(steps=40),
        on_step=lambda stage, step: None if stages is None else stages.append(stage),
        snapshots=Snapshots(),
    )
    return Quantizer(TENSORS, LAYERS, teacher.network, has_inputs=True), training


def bytes_of(quantized: Quantized) -> int:
    integers = quantized.integers
    return round(float(RateModel(integers).bits_of_rounded([values.float() for values in integers])) / 8)


def measure_with(drop_of: Callable[[int], float]) -> Callable[[Quantized], Measured]:
    return lambda quantized: Measured(bytes_of(quantized), loss_of(drop_of(bytes_of(quantized))))


def loss_of(drop: float) -> PointsLost:
    """Return a loss with an expected drop of `drop`: counted plus a half more by the original's estimate."""
    return PointsLost(thought=1.5 * drop, counted=drop)


def measure_in_turn(*drops: float) -> Callable[[Quantized], Measured]:
    left = iter(drops)
    return lambda quantized: Measured(bytes_of(quantized), loss_of(next(left)))


def no_fallback() -> Quantized:
    raise AssertionError("there is a result that costs little enough")


def search_with(drop: float) -> tuple[SizeSearch, Trainer]:
    quantizer, training = quantizer_and_training()
    bits = 2.0 * quantizer.weights
    trainer = Trainer(training, quantizer, quantizer.start(quantizer.plan(), bits), bits)
    measure = measure_with(lambda size: drop)
    return SizeSearch(trainer.loss, lambda: measure(quantizer.rounded(trainer.parameters)), DropGoal(0.5)), trainer


@pytest.mark.parametrize(
    ("fraction", "drop", "factor"),
    [
        # Half of it will remain, and the target is nine tenths of the limit.
        (0.15, 0.0, 0.3),
        (0.15, 0.45, 0.5**0.3),
        (0.15, 0.9, 1.0),
        (0.15, 1.8, 2.0**0.3),
        (0.15, 90.0, 2.0),
        (0.35, 0.0, 0.6),
        (0.35, 0.9, 1.3**0.3),
        (0.35, 90.0, 1.5),
    ],
)
def test_bits_follow_what_the_file_will_cost(fraction: float, drop: float, factor: float) -> None:
    search, trainer = search_with(drop)
    before = trainer.loss.wanted_bits
    search(fraction)
    assert trainer.loss.wanted_bits == pytest.approx(factor * before)
    assert [trial.drop for trial in search.trials] == [drop]


def test_the_integers_take_about_the_bits_that_are_wanted_at_once() -> None:
    search, trainer = search_with(0.0)
    before = trainer.loss.wanted_bits
    search.try_out()
    search.correct(left=1.0, least=0.75, most=1.0)
    search.try_out()
    sizes = [trial.bytes for trial in search.trials]
    assert sizes[1] == pytest.approx(0.75 * sizes[0], rel=0.1)
    assert trainer.loss.wanted_bits == 0.75 * before


@pytest.mark.parametrize("bits_per_weight", [1.3, 3.1])
def test_other_bits_leave_the_weights_before_rounding_as_they_are(bits_per_weight: float) -> None:
    _, trainer = search_with(0.0)

    def before_rounding() -> list[torch.Tensor]:
        layers = trainer.parameters.quantized_layers(trainer.parameters.integers())
        parts = zip(trainer.parameters.latents, layers, strict=True)
        return [
            latent.detach() * torch.from_numpy(steps_of(layer.tables.exponents.filters)).float()[:, None, None]
            for latent, layer in parts
        ]

    before = before_rounding()
    trainer.loss.want(bits_per_weight * trainer.loss.weights)
    torch.testing.assert_close(before_rounding(), before)


@pytest.mark.parametrize("drop", [0.0, 900.0])
def test_bits_stay_within_what_a_weight_can_have(drop: float) -> None:
    search, trainer = search_with(drop)
    for _ in range(40):
        search.try_out()
        search.correct(left=1.0, least=0.3, most=2.0)
    assert trainer.loss.wanted_bits == pytest.approx((0.05 if drop == 0.0 else 8.0) * trainer.loss.weights)


def test_the_size_is_corrected_twice() -> None:
    search, _ = search_with(0.5)
    corrected: list[float] = []
    for step in range(40):
        search(step / 40)
        if len(search.trials) > len(corrected):
            corrected.append(step / 40)
    assert corrected == [0.15, 0.35]


def test_a_step_over_several_corrections_makes_the_last() -> None:
    search, trainer = search_with(0.0)
    before = trainer.loss.wanted_bits
    search(0.5)
    search(0.55)
    assert len(search.trials) == 1
    assert trainer.loss.wanted_bits == pytest.approx(0.6 * before)


def test_a_search_goes_on_from_its_state() -> None:
    search, _ = search_with(0.25)
    search(0.15)
    again, trainer = search_with(0.25)
    again.restore(search.state())
    assert again.trials == search.trials
    assert trainer.loss.wanted_bits == search.state()["loss"]["wanted_bits"]
    again(0.2)
    assert len(again.trials) == 1


def test_a_first_part_that_ends_near_what_is_allowed_is_the_result() -> None:
    stages: list[Stage] = []
    quantizer, training = quantizer_and_training(stages)
    quantized, trials, seconds = quantize_within_drop(
        quantizer, quantizer.plan(), DropGoal(0.5), measure_in_turn(0.9, 0.9, 0.45), training, no_fallback
    )
    assert [trial.drop for trial in trials] == [0.9, 0.9, 0.45]
    assert trials[-1].bytes == bytes_of(quantized)
    assert {(stage.start, stage.share) for stage in stages} == {(0.0, 0.6)}
    assert seconds > 0


@pytest.mark.parametrize(
    ("ends", "larger", "last"),
    [
        # Too much at first: the second part has more bits, and its end is the result.
        ((0.8, 0.45), True, 0.45),
        # Much less than the limit: fewer bits, and the smaller file if it is within the limit.
        ((0.1, 0.45), False, 0.45),
        ((0.1, 0.6), False, 0.1),
        # Too much both times: the weights without training, if they cost less.
        ((0.8, 0.6, 0.1), True, 0.1),
        ((0.6, 0.8, 0.7), True, 0.6),
    ],
)
def test_another_first_part_is_followed_by_a_second_one(ends: tuple[float, ...], larger: bool, last: float) -> None:
    stages: list[Stage] = []
    quantizer, training = quantizer_and_training(stages)
    sizes: list[int] = []
    measure = measure_in_turn(0.9, 0.9, *ends)

    def remembered(quantized: Quantized) -> Measured:
        sizes.append(bytes_of(quantized))
        return measure(quantized)

    def untrained() -> Quantized:
        return quantizer.rounded(quantizer.start(quantizer.plan(), 8.0 * quantizer.weights))

    quantized, trials, _ = quantize_within_drop(
        quantizer, quantizer.plan(), DropGoal(0.5), remembered, training, untrained
    )
    assert sorted({(stage.start, stage.share) for stage in stages}) == [(0.0, 0.6), (0.6, 0.4)]
    assert stages[-1].earlier_steps == 24
    assert (sizes[3] > sizes[2]) is larger
    assert sorted(trial.bytes for trial in trials) == sorted(sizes)
    assert (trials[-1].drop, trials[-1].bytes) == (last, bytes_of(quantized))


@pytest.mark.parametrize(("stage", "steps"), [(Stage(0.0, 0.6, 0), 50), (Stage(0.6, 0.4, 30), 50)])
def test_with_a_budget_in_seconds_the_total_of_steps_is_estimated_from_the_speed_of_the_stage(
    stage: Stage, steps: int
) -> None:
    seconds = 1000.0
    clock = Clock(Budget(seconds=seconds * stage.share))
    clock.restore({"step": round(15 * stage.share / 0.6), "elapsed": seconds * stage.share / 2})
    assert stage.total_steps(clock, Budget(seconds=seconds)) == steps


def test_a_search_stays_at_the_fewest_bits_that_it_is_given() -> None:
    quantizer, training = quantizer_and_training()
    quantized, _, _ = quantize_within_drop(
        quantizer,
        quantizer.plan(),
        DropGoal(0.5, least_bits=3.0),
        measure_with(lambda size: 0.0),
        training,
        no_fallback,
    )
    assert bytes_of(quantized) == pytest.approx(3.0 * quantizer.weights / 8, rel=0.05)
