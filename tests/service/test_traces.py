from itertools import pairwise

from app.settings import Settings
from tests.app.tracing.collector import Told, collecting
from tests.conftest import DIGITS, EXAMPLE
from tests.service.conftest import Service, wait_for

TRACE = "4bf92f3577b34da6a3ce929d0e0e4736"


def test_a_job_is_one_trace_from_the_request_to_the_phases_of_its_encoding(service: Service) -> None:
    with collecting() as collector:
        service.settings = Settings(
            **{name: getattr(service.settings, name) for name in service.settings.model_fields_set},
            otlp_endpoint=collector.url,
        )
        service.start_api()
        service.start_worker()
        dataset = str(DIGITS) if service.settings.embedded else DIGITS.name
        with EXAMPLE.open("rb") as file:
            answer = service.client.http.post(
                "/jobs",
                files={"checkpoint": file},
                data={"options": f'{{"architecture": "digits-cnn", "dataset": "{dataset}", "steps": 20}}'},
                headers={"traceparent": f"00-{TRACE}-00f067aa0ba902b7-01"},
            )
        job = service.client.ended(answer.headers["Location"])
        assert job["status"] == "succeeded", job["message"]
        expected = {"POST /jobs", "encode"}
        wait_for(lambda: expected <= {span.name for span in collector.spans}, what="somebody told of nothing")
    spans = [span for span in collector.spans if span.trace_id == TRACE]
    made, waited, encoded = collector.named("POST /jobs"), collector.named("queued"), collector.named("encode")
    assert (made.service, encoded.service, encoded.kind) == ("nern-api", "nern-worker", "consumer")
    assert waited.parent_id == encoded.parent_id == made.span_id
    assert encoded.attributes == {
        "nern.job.id": job["id"],
        "nern.job.attempt": "1",
        "nern.job.status": "succeeded",
    }
    parts = sorted((span for span in spans if span.parent_id == encoded.span_id), key=lambda span: span.start)
    assert [part.name for part in parts] == [
        "prepare",
        "start",
        "starting",
        "reading",
        "quantization",
        "distillation",
        "writing",
        "evaluation",
        "comparison",
        "publish",
    ]
    assert no_gap_between(parts)
    assert waited.end <= parts[0].start + 1_000_000_000


def no_gap_between(parts: list[Told]) -> bool:
    """Return true if each part begins when the previous one ends."""
    return all(part.end == following.start for part, following in pairwise(parts))
