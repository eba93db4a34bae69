from datetime import UTC, datetime, timedelta

import pytest

from app.jobs.events.repository import QueueHistory
from app.jobs.kinds import JobKind
from app.jobs.transitions import Claim
from app.tracing.otlp import OtlpTracer
from nern_core.contract.progress import Phase
from tests.app.tracing.collector import collecting
from worker.attempt_trace import AttemptTrace
from worker.outcome import Completed, Failed, Outcome, Stopped
from worker.protocol import ErrorLine

TRACE, REQUEST = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"


def claim(traceparent: str | None = f"00-{TRACE}-{REQUEST}-01") -> Claim:
    return Claim(
        job_id="job_1",
        attempt=2,
        kind=JobKind.ENCODING,
        checkpoint_sha256="c" * 64,
        checkpoint_bytes=5,
        dataset_sha256=None,
        options={},
        snapshots={},
        history=QueueHistory(traceparent, datetime.now(UTC) - timedelta(minutes=1)),
    )


@pytest.mark.parametrize(
    ("outcome", "status", "failure"),
    [
        (Completed({}, {}), "succeeded", None),
        (Stopped(), "queued", None),
        (Failed(ErrorLine(code="no_gpu", message="There is none.")), "failed", "no_gpu"),
    ],
)
def test_an_attempt_says_what_has_become_of_the_job(outcome: Outcome, status: str, failure: str | None) -> None:
    with collecting() as collector:
        tracer = OtlpTracer(collector.url, "worker")
        with AttemptTrace(tracer, claim()) as trace:
            trace.settled(outcome, status)
        tracer.stop()
    told = collector.named("encode")
    assert (told.trace_id, told.parent_id, told.failure) == (TRACE, REQUEST, failure)
    assert told.attributes == {"nern.job.id": "job_1", "nern.job.attempt": "2", "nern.job.status": status}


def test_phases_follow_each_other_from_the_times_at_which_they_were_told_of() -> None:
    with collecting() as collector:
        tracer = OtlpTracer(collector.url, "worker")
        with AttemptTrace(tracer, claim()) as trace:
            trace.starts_child()
            now = datetime.now(UTC).timestamp()
            trace.child_ended([(Phase.READING, now + 1), (Phase.RECONSTRUCTION, now + 3)])
        tracer.stop()
    reading, start = collector.named("reading"), collector.named("start")
    assert start.end == reading.start == pytest.approx((now + 1) * 1e9, abs=1e3)
    assert reading.end == collector.named("reconstruction").start == pytest.approx((now + 3) * 1e9, abs=1e3)
    assert reading.parent_id == start.parent_id == collector.named("encode").span_id


def test_the_time_in_the_queue_is_the_requests_own_part() -> None:
    with collecting() as collector:
        tracer = OtlpTracer(collector.url, "worker")
        with AttemptTrace(tracer, claim()):
            pass
        tracer.stop()
    waited = collector.named("queued")
    assert (waited.trace_id, waited.parent_id) == (TRACE, REQUEST)
    assert waited.end - waited.start == pytest.approx(60e9, abs=10e9)


def test_the_attempt_at_a_job_whose_request_was_not_traced_is_a_trace_of_its_own() -> None:
    with collecting() as collector:
        tracer = OtlpTracer(collector.url, "worker")
        with AttemptTrace(tracer, claim(None)):
            pass
        tracer.stop()
    (told,) = collector.spans
    assert (told.name, told.parent_id) == ("encode", "")
