"""Tests of the limit for the time of tests, with clocks that the tests set."""

import json
from collections.abc import Callable

import pytest

from tests.budget import Moment, slowness

pytest_plugins = ["pytester"]

CLOCKS = "cpu = wall = contended = 0.0"
PLUGIN = """
import clocks
from tests.budget import Budget, Moment

def pytest_configure(config):
    config.addinivalue_line("markers", "slow")
    now = lambda: Moment(clocks.cpu, clocks.wall, clocks.contended)
    config.pluginmanager.register(Budget(10.0, now, lambda: {slowness}))
"""
TEST = """
import clocks
import pytest

{before}
def test_something({fixture}):
    {body}
"""
Run = Callable[..., pytest.RunResult]


@pytest.fixture
def run(pytester: pytest.Pytester) -> Run:
    """Run one test under the plugin, with a limit of ten seconds."""

    def run(body: str, *, before: str = "", fixture: str = "", slowness: float = 1.0) -> pytest.RunResult:
        pytester.syspathinsert()
        pytester.makepyfile(clocks=CLOCKS)
        pytester.makeconftest(PLUGIN.format(slowness=slowness))
        pytester.makepyfile(TEST.format(body=body, before=before, fixture=fixture))
        return pytester.runpytest_inprocess("-p", "no:xdist")

    return run


def test_a_test_within_the_limit_passes(run: Run) -> None:
    run("clocks.cpu += 9; clocks.wall += 9").assert_outcomes(passed=1)


@pytest.mark.parametrize("clock", ["cpu", "wall"])
def test_a_test_that_computes_or_waits_for_longer_fails_and_says_why(run: Run, clock: str) -> None:
    result = run(f"clocks.{clock} += 11")
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(["*took 11.0 s; a test may take 10.0 s on this machine: make it quicker, or mark it*"])


def test_the_time_in_which_processes_waited_for_a_cpu_does_not_count(run: Run) -> None:
    run("clocks.wall += 30; clocks.contended += 25").assert_outcomes(passed=1)


def test_a_slow_machine_has_more_time(run: Run) -> None:
    run("clocks.cpu += 19", slowness=2.0).assert_outcomes(passed=1)
    run("clocks.cpu += 21", slowness=2.0).assert_outcomes(failed=1)


def test_a_test_that_is_marked_slow_has_no_limit(run: Run) -> None:
    run("clocks.cpu += 100", before="@pytest.mark.slow").assert_outcomes(passed=1)


def test_fixtures_do_not_count(run: Run) -> None:
    fixture = "@pytest.fixture\ndef costly():\n    clocks.cpu += 100\n    yield\n    clocks.cpu += 100\n"
    run("pass", before=fixture, fixture="costly").assert_outcomes(passed=1)


def test_a_test_that_fails_keeps_its_own_reason(run: Run) -> None:
    result = run("clocks.cpu += 11; assert 1 == 2")
    result.assert_outcomes(failed=1)
    result.stdout.no_fnmatch_line("*took 11.0 s*")


def test_durations_are_kept(run: Run, pytester: pytest.Pytester) -> None:
    run("import time; time.sleep(0.1)")
    kept = json.loads((pytester.path / ".pytest_cache" / "v" / "nern" / "seconds").read_text())
    assert list(kept) == ["test_durations_are_kept.py::test_something"]
    assert kept["test_durations_are_kept.py::test_something"] >= 0.1


def test_the_clocks_only_go_forward() -> None:
    earlier = Moment.now()
    sum(range(10**6))
    passed = Moment.now().since(earlier)
    assert passed.wall > 0
    assert passed.cpu >= 0
    assert passed.contended >= 0


def test_no_machine_is_told_to_be_quicker_than_the_reference() -> None:
    assert slowness() >= 1
