"""Trace of an attempt: the wait in the queue and the duration of each part."""

import time
from collections.abc import Sequence
from types import TracebackType
from typing import Self

from app.jobs.transitions import Claim
from app.tracing import Tracer
from nern_core.contract.progress import Phase
from worker.outcome import Failed, Killed, MachineFault, Outcome


class AttemptTrace:
    """A span from the claim to the end of the `with`, a child of the span of the request that created the job.

    Its parts are the start of the child process, each phase that the child reported, and the publication of the
    results. The time in the queue is a separate span beside it. If the request was not traced, the attempt is a trace
    of its own.
    """

    def __init__(self, tracer: Tracer, claim: Claim) -> None:
        self._tracer = tracer
        self._parent = claim.history.traceparent
        self._queued_at = claim.history.queued_at
        about: dict[str, str | int | float | bool] = {"nern.job.id": claim.job_id, "nern.job.attempt": claim.attempt}
        self._context = tracer.job("encode", self._parent, about)
        self._last = time.time()

    def __enter__(self) -> Self:
        if self._parent is not None and self._queued_at is not None:
            self._tracer.part("queued", self._parent, self._queued_at.timestamp(), self._last)
        self._span = self._context.__enter__()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._context.__exit__(kind, error, traceback)

    def starts_child(self) -> None:
        """End the part `prepare`: the checkpoint and the snapshots are in place."""
        self._part("prepare", time.time())

    def child_ended(self, phases: Sequence[tuple[Phase, float]]) -> None:
        """Add the parts of the child, which has ended: `phases` are the phases with their start times."""
        names = ["start", *(phase.value for phase, _ in phases)]
        for name, end in zip(names, [*(started for _, started in phases), time.time()], strict=True):
            self._part(name, end)

    def settled(self, outcome: Outcome, status: str) -> None:
        """End the span with the outcome and the status of the job."""
        self._part("publish", time.time())
        self._span.note({"nern.job.status": status})
        if isinstance(outcome, Failed | Killed):
            self._span.fail(outcome.error.code)
        elif isinstance(outcome, MachineFault):
            self._span.fail(outcome.reason)

    def _part(self, name: str, end: float) -> None:
        """Add a part from the end of the previous one to `end`."""
        self._tracer.part(name, self._span.traceparent, self._last, end)
        self._last = end
