"""Fair shares: what there is a limited number of, such as threads or places to wait, divided among tenants.

A tenant takes another one only while it holds fewer than remain free. So one tenant alone gets half of them, and
whatever it does, the next tenant finds a free one.
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

# An idle thread ends after so long.
_SECONDS_IDLE = 30.0
_LONGEST_QUEUE = 256

Result = TypeVar("Result")
Arguments = TypeVarTuple("Arguments")


class QueueFull(Exception):
    """A tenant has as much work waiting as it may have."""


class FairShares:
    """A number of places that tenants take and release; any thread may call it.

    Without `reserving`, where there is one tenant only or no place is held for long, a tenant may have all of them.
    """

    def __init__(self, places: int, *, reserving: bool = True) -> None:
        self._free = places
        self._reserving = reserving
        self._held: Counter[str] = Counter()
        self._lock = threading.Lock()

    def copy(self) -> "FairShares":
        """The places as they are now, to plan with."""
        with self._lock:
            copy = FairShares(self._free, reserving=self._reserving)
            copy._held = self._held.copy()
        return copy

    def may_take(self, tenant: str) -> bool:
        """Return whether a place is free for the tenant now."""
        return self._free > (self._held[tenant] if self._reserving else 0)

    def take(self, tenant: str) -> bool:
        """Take a place; returns False if none is free for this tenant now."""
        with self._lock:
            if not self.may_take(tenant):
                return False
            self._free -= 1
            self._held[tenant] += 1
            return True

    def release(self, tenant: str) -> None:
        """Give a place back."""
        with self._lock:
            self._free += 1
            self._held[tenant] -= 1
            if not self._held[tenant]:
                del self._held[tenant]


@dataclass(frozen=True, slots=True)
class _Task(Generic[Result]):
    """Work of a tenant, and what it comes to."""

    tenant: str
    future: Future[Result]
    work: Callable[[], Result]

    def run(self) -> None:
        """Do the work, unless nobody waits for it any more."""
        if not self.future.set_running_or_notify_cancel():
            return
        try:
            result = self.work()
        except BaseException as error:  # noqa: BLE001 # it is for whoever waits
            self.future.set_exception(error)
            # The traceback has this frame: without `self` it is no cycle, and what the work held is freed at once.
            del self
        else:
            self.future.set_result(result)


class FairThreads:
    """A few threads for work that may take long. Tenants take turns, within their shares of the threads."""

    def __init__(self, name: str, threads: int, *, reserving: bool = True, longest_queue: int = _LONGEST_QUEUE) -> None:
        self._name = name
        self._most_threads = threads
        self._longest_queue = longest_queue
        self._shares = FairShares(threads, reserving=reserving)
        # The order of the tenants is that of their turns.
        self._queues: dict[str, deque[_Task[object]]] = {}
        self._changed = threading.Condition()
        self._threads = self._idle = 0

    def submit(
        self, tenant: str, work: Callable[[Unpack[Arguments]], Result], *arguments: *Arguments
    ) -> "Future[Result]":
        """Queue some work. Raises `QueueFull`."""
        future: Future[Result] = Future()
        task = _Task(tenant, future, partial(copy_context().run, work, *arguments))
        with self._changed:
            queue = self._queues.setdefault(tenant, deque())
            if len(queue) >= self._longest_queue:
                raise QueueFull(f"{self._name}: {len(queue)} wait already")
            queue.append(task)  # type: ignore[arg-type] # queues hold work of every result
            if self._idle:
                self._changed.notify()
            elif self._threads < self._most_threads:
                self._threads += 1
                threading.Thread(target=self._serve, name=self._name, daemon=True).start()
        return future

    async def run(self, tenant: str, work: Callable[[Unpack[Arguments]], Result], *arguments: *Arguments) -> Result:
        """Have some work done and return its result. Raises `QueueFull`, and what the work raises."""
        return await asyncio.wrap_future(self.submit(tenant, work, *arguments))

    def _serve(self) -> None:
        while (task := self._next()) is not None:
            task.run()
            tenant = task.tenant
            # What the work held is freed before the next one comes.
            del task
            with self._changed:
                self._shares.release(tenant)
                # Also others may now have a share.
                self._changed.notify_all()

    def _next(self) -> _Task[object] | None:
        """Wait for the next task whose turn it is; returns None after an idle while."""
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
                # The others come before this tenant's next one.
                del self._queues[tenant]
                if queue:
                    self._queues[tenant] = queue
                return task
        return None
