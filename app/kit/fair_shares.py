"""Fair shares: divides a limited number of places, such as threads, among tenants.

A tenant may take another place only while it holds fewer than are free. So one tenant alone gets half of the places,
and the next tenant always finds a free one.
"""

import asyncio
import threading
from collections import Counter, deque
from collections.abc import Callable
from concurrent.futures import Future
from contextvars import copy_context
from dataclasses import dataclass
from functools import partial
from typing import Generic, TypeVar, TypeVarTuple, Unpack

# An idle thread ends after this time.
_SECONDS_IDLE = 30.0
_LONGEST_QUEUE = 256

Result = TypeVar("Result")
Arguments = TypeVarTuple("Arguments")


class QueueFull(Exception):
    """A tenant's queue is full."""


class FairShares:
    """Places that tenants take and release. Thread-safe.

    Without `reserving`, a tenant may take all places: for services with one tenant, and places held only briefly.
    """

    def __init__(self, places: int, *, reserving: bool = True) -> None:
        self._free = places
        self._reserving = reserving
        self._held: Counter[str] = Counter()
        self._lock = threading.Lock()

    def copy(self) -> "FairShares":
        """Return a copy of the present state, to plan with."""
        with self._lock:
            copy = FairShares(self._free, reserving=self._reserving)
            copy._held = self._held.copy()
        return copy

    def may_take(self, tenant: str) -> bool:
        """Return whether a place is free for the tenant now."""
        return self._free > (self._held[tenant] if self._reserving else 0)

    def take(self, tenant: str) -> bool:
        """Take a place; return False if no place is free for this tenant now."""
        with self._lock:
            if not self.may_take(tenant):
                return False
            self._free -= 1
            self._held[tenant] += 1
            return True

    def release(self, tenant: str) -> None:
        """Release a place."""
        with self._lock:
            self._free += 1
            self._held[tenant] -= 1
            if not self._held[tenant]:
                del self._held[tenant]


@dataclass(frozen=True, slots=True)
class _Task(Generic[Result]):
    """Work of a tenant, and the future of its result."""

    tenant: str
    future: Future[Result]
    work: Callable[[], Result]

    def run(self) -> None:
        """Do the work, unless it was canceled."""
        if not self.future.set_running_or_notify_cancel():
            return
        try:
            result = self.work()
        except BaseException as error:  # noqa: BLE001 # the waiter gets it
            self.future.set_exception(error)
            # The traceback refers to this frame. Without `self` there is no cycle, so the work's memory is freed now.
            del self
        else:
            self.future.set_result(result)


class FairThreads:
    """A few threads for long work. Tenants take turns, within their shares of the threads."""

    def __init__(self, name: str, threads: int, *, reserving: bool = True, longest_queue: int = _LONGEST_QUEUE) -> None:
        self._name = name
        self._most_threads = threads
        self._longest_queue = longest_queue
        self._shares = FairShares(threads, reserving=reserving)
        # Tenants are in the order of their turns.
        self._queues: dict[str, deque[_Task[object]]] = {}
        self._changed = threading.Condition()
        self._threads = self._idle = 0

    def submit(
        self, tenant: str, work: Callable[[Unpack[Arguments]], Result], *arguments: *Arguments
    ) -> "Future[Result]":
        """Queue work for a tenant. Raises `QueueFull`."""
        future: Future[Result] = Future()
        task = _Task(tenant, future, partial(copy_context().run, work, *arguments))
        with self._changed:
            queue = self._queues.setdefault(tenant, deque())
            if len(queue) >= self._longest_queue:
                raise QueueFull(f"{self._name}: {len(queue)} tasks are waiting")
            queue.append(task)  # type: ignore[arg-type] # queues hold work of every result
            if self._idle:
                self._changed.notify()
            elif self._threads < self._most_threads:
                self._threads += 1
                threading.Thread(target=self._serve, name=self._name, daemon=True).start()
        return future

    async def run(self, tenant: str, work: Callable[[Unpack[Arguments]], Result], *arguments: *Arguments) -> Result:
        """Do work in a thread and return its result. Raises `QueueFull`, and what the work raises."""
        return await asyncio.wrap_future(self.submit(tenant, work, *arguments))

    def _serve(self) -> None:
        while (task := self._next()) is not None:
            task.run()
            tenant = task.tenant
            # Free the work's memory before the next task starts.
            del task
            with self._changed:
                self._shares.release(tenant)
                # The shares of other tenants may have grown too.
                self._changed.notify_all()

    def _next(self) -> _Task[object] | None:
        """Wait for the next task; return None after `_SECONDS_IDLE` without one."""
        with self._changed:
            while (task := self._take_turn()) is None:
                self._idle += 1
                notified = self._changed.wait(_SECONDS_IDLE)
                self._idle -= 1
                if not notified and not self._queues:
                    self._threads -= 1
                    return None
            return task

    def _take_turn(self) -> _Task[object] | None:
        for tenant, queue in self._queues.items():
            if self._shares.take(tenant):
                task = queue.popleft()
                # Move this tenant behind the others.
                del self._queues[tenant]
                if queue:
                    self._queues[tenant] = queue
                return task
        return None
