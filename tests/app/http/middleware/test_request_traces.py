from app.settings import Settings
from tests.app.conftest import serving, submit
from tests.app.tracing.collector import collecting

TRACE = "4bf92f3577b34da6a3ce929d0e0e4736"
CALLER = "00f067aa0ba902b7"
TRACEPARENT = f"00-{TRACE}-{CALLER}-01"


def test_a_request_is_a_span_within_the_trace_of_its_sender(embedded: Settings) -> None:
    with collecting() as collector:
        with serving(embedded.model_copy(update={"otlp_endpoint": collector.url})) as client:
            client.get("/jobs/job_1", headers={"traceparent": TRACEPARENT})
        (span,) = collector.spans
    assert (span.service, span.name, span.kind) == ("nern-api", "GET /jobs/{job_id}", "server")
    assert (span.trace_id, span.parent_id, span.failure) == (TRACE, CALLER, None)
    assert span.attributes == {
        "http.request.method": "GET",
        "http.route": "/jobs/{job_id}",
        "http.response.status_code": "404",
    }


def test_probes_and_prometheus_are_not_traced(embedded: Settings) -> None:
    with collecting() as collector:
        with serving(embedded.model_copy(update={"otlp_endpoint": collector.url})) as client:
            for path in ("/livez", "/readyz", "/metrics"):
                assert client.get(path).is_success
        assert collector.spans == []


def test_a_job_remembers_the_request_that_has_made_it(embedded: Settings) -> None:
    with collecting() as collector:
        with serving(embedded.model_copy(update={"otlp_endpoint": collector.url})) as client:
            job = submit(client, headers={"traceparent": TRACEPARENT}).json()
            (queued,) = client.get(job["links"]["events"]).json()["items"]
        made = collector.named("POST /jobs")
    assert queued["data"] == {"attempt": 0, "traceparent": f"00-{TRACE}-{made.span_id}-01"}


def test_nobody_is_told_where_there_is_no_collector(embedded: Settings) -> None:
    with serving(embedded) as client:
        job = submit(client, headers={"traceparent": TRACEPARENT}).json()
        (queued,) = client.get(job["links"]["events"]).json()["items"]
    assert queued["data"] == {"attempt": 0}
