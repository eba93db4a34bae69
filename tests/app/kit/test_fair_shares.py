import asyncio
import gc
import threading
import weakref
from collections.abc import Iterator

import pytest

from app.kit.fair_shares import FairShares, FairThreads, QueueFull


@pytest.fixture
def gate() -> Iterator[threading.Event]:
    """An event that the work in these tests waits for; it is set when the test ends."""
    gate = threading.Event()
    yield gate
    gate.set()


def test_one_tenant_gets_half_of_the_places_and_the_next_one_finds_some() -> None:
    shares = FairShares(8)
    assert [shares.take("a") for _ in range(6)] == [True] * 4 + [False] * 2
    assert [shares.take("b") for _ in range(3)] == [True] * 2 + [False]
    assert shares.take("c")
    shares.release("a")
    assert shares.take("d")


def test_a_single_place_is_for_whoever_comes_first() -> None:
    shares = FairShares(1)
    assert shares.take("a")
    assert not shares.take("b")
    shares.release("a")
    assert shares.take("b")


def test_without_a_reserve_one_tenant_may_have_all_places() -> None:
    shares = FairShares(3, reserving=False)
    assert [shares.take("a") for _ in range(4)] == [True] * 3 + [False]


def test_work_of_another_tenant_starts_while_one_holds_its_share(gate: threading.Event) -> None:
    threads = FairThreads("test", 4)
    for _ in range(40):
        threads.submit("slow", gate.wait, 30)
    assert threads.submit("quick", str, 1).result(5) == "1"


def test_tenants_take_turns(gate: threading.Event) -> None:
    threads = FairThreads("test", 1)
    order: list[str] = []
    threads.submit("first", gate.wait, 30)
    waiting = [threads.submit(tenant, order.append, f"{tenant}{n}") for tenant in "ab" for n in range(3)]
    gate.set()
    for future in waiting:
        future.result(5)
    assert order == ["a0", "b0", "a1", "b1", "a2", "b2"]


def test_a_tenant_may_have_only_so_much_waiting(gate: threading.Event) -> None:
    threads = FairThreads("test", 2, longest_queue=2)
    started = threading.Event()

    def hold() -> None:
        started.set()
        gate.wait(30)

    threads.submit("a", hold)
    assert started.wait(5)
    threads.submit("a", gate.wait, 30)
    threads.submit("a", gate.wait, 30)
    with pytest.raises(QueueFull):
        threads.submit("a", gate.wait, 30)
    assert threads.submit("b", str, 1).result(5) == "1"


def test_work_that_nobody_waits_for_is_not_begun(gate: threading.Event) -> None:
    threads = FairThreads("test", 1)
    done: list[int] = []
    threads.submit("a", gate.wait, 30)
    given_up = threads.submit("a", done.append, 1)
    assert given_up.cancel()
    gate.set()
    threads.submit("a", done.append, 2).result(5)
    assert done == [2]


def test_an_error_reaches_who_waits() -> None:
    with pytest.raises(ZeroDivisionError):
        asyncio.run(FairThreads("test", 1).run("a", divmod, 1, 0))


def test_what_failed_work_held_is_freed_without_the_garbage_collector() -> None:
    held: list[weakref.ref[set[int]]] = []

    def fail() -> None:
        much = {1, 2, 3}
        held.append(weakref.ref(much))
        raise ValueError

    threads = FairThreads("test", 1)
    gc.disable()
    try:
        assert isinstance(threads.submit("a", fail).exception(timeout=10), ValueError)
        threads.submit("a", bool).result(timeout=10)
        assert held[0]() is None
    finally:
        gc.enable()
