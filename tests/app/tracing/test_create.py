import os
import subprocess
import sys

import pytest

from app.settings import Settings
from app.tracing import SilentTracer, create_tracer
from app.tracing.otlp import OtlpTracer
from tests.app.tracing.collector import collecting
from tests.conftest import ROOT

STANDARD = ("OTEL_EXPORTER_OTLP_ENDPOINT", "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "OTEL_SDK_DISABLED")


@pytest.fixture(autouse=True)
def nobody_listens(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in STANDARD:
        monkeypatch.delenv(name, raising=False)


def test_where_nobody_listens_no_exporter_of_opentelemetry_is_loaded(embedded: Settings) -> None:
    # The redis package loads OpenTelemetry's metrics by itself if they are installed.
    program = (
        "import sys, app.main, worker.celery_app; "
        "print([name for name in sys.modules if name.startswith(('app.tracing.otlp', 'opentelemetry.exporter'))])"
    )
    env = {name: value for name, value in os.environ.items() if not name.startswith("NERN_")}
    env |= {"NERN_DATA_DIR": str(embedded.data_dir), "PYTHONPATH": str(ROOT)}
    done = subprocess.run([sys.executable, "-c", program], env=env, capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"


def test_a_silent_tracer_hands_on_who_asks(embedded: Settings) -> None:
    tracer = create_tracer(embedded, "api")
    assert isinstance(tracer, SilentTracer)
    with tracer.request("GET", "00-parent", {}) as span:
        assert span.traceparent == "00-parent"


@pytest.mark.parametrize("name", STANDARD[:2])
def test_the_standard_variables_name_a_collector_too(
    embedded: Settings, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    with collecting() as collector:
        monkeypatch.setenv(name, collector.url + "/v1/traces" * ("TRACES" in name))
        tracer = create_tracer(embedded, "api")
        with tracer.job("work", None, {}):
            pass
        tracer.stop()
    assert [(span.service, span.name) for span in collector.spans] == [("nern-api", "work")]


def test_the_standard_variable_switches_traces_off(embedded: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OTEL_SDK_DISABLED", "true")
    named = embedded.model_copy(update={"otlp_endpoint": "http://127.0.0.1:4318"})
    assert isinstance(create_tracer(named, "api"), SilentTracer)


def test_the_operator_names_the_service(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OTEL_SERVICE_NAME", "compression")
    with collecting() as collector:
        tracer = OtlpTracer(collector.url, "worker")
        tracer.part("wait", None, 1.5, 2.25)
        tracer.stop()
    (span,) = collector.spans
    assert (span.service, span.start, span.end) == ("compression", 1_500_000_000, 2_250_000_000)


def test_a_parent_that_cannot_be_read_begins_a_trace() -> None:
    with collecting() as collector:
        tracer = OtlpTracer(collector.url, "api")
        with tracer.request("GET", "what is this", {}) as span:
            span.fail("no answer")
        tracer.stop()
    (told,) = collector.spans
    assert (told.parent_id, told.failure) == ("", "no answer")
