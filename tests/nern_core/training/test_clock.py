import time

from nern_core.training.clock import Budget, Clock, Share


def test_a_budget_in_steps_is_counted_in_steps() -> None:
    clock = Clock(Budget(steps=4))
    assert not clock.finished
    for _ in range(3):
        clock.tick()
    assert (clock.fraction, clock.finished, clock.total_steps) == (0.75, False, 4)
    clock.tick()
    assert clock.finished


def test_a_budget_in_seconds_ends_by_the_clock() -> None:
    clock = Clock(Budget(seconds=0.05))
    clock.tick()
    early = clock.finished
    time.sleep(0.06)
    assert (early, clock.finished) == (False, True)
    assert clock.seconds_left == 0.0


def test_a_phase_has_at_least_one_step() -> None:
    clock = Clock(Budget(seconds=0.0))
    assert not clock.finished
    clock.tick()
    assert clock.finished


def test_a_phase_has_a_share_of_steps_and_one_of_seconds() -> None:
    share = Share(seconds=0.3, steps=0.9)
    assert Budget(steps=100).part(share) == Budget(steps=90)
    assert Budget(seconds=10).part(share) == Budget(seconds=3.0)
    assert Budget(steps=3).part(Share(seconds=0.1, steps=0.1)) == Budget(steps=1)
