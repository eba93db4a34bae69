"""The trace of an attempt: how long its job has waited, and where the time has gone since."""

import time
from collections.abc import Sequence
from types import TracebackType
from typing import Self

from app.jobs.transitions import Claim
from app.tracing import Tracer
from nern_core.progress import Phase
from worker.outcome import Failed, Killed, MachineFault, Outcome


class AttemptTrace:
    """A span within that of the request that has made the job, from the claim to the end of the `with`.

    Within it are the starting of the child, each phase that the child has told of, and the publication of what it has
    left. Beside it is the time in the queue. The attempt at a job whose request was not traced is a trace of its own.
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
        """The checkpoint and the snapshots are in place."""
        self._part("prepare", time.time())

    def child_ended(self, phases: Sequence[tuple[Phase, float]]) -> None:
        """The child is gone; it had told of these phases at these times."""
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
        """Add a part that ends now or then, and began with the end of the last one."""
        self._tracer.part(name, self._span.traceparent, self._last, end)
        self._last = end
