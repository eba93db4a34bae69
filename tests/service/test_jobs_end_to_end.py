"""Jobs through real processes. Most tests look at one job, which the service of this process has run."""

import hashlib
import json
from collections.abc import Iterator
from itertools import islice, pairwise
from typing import Any

import pytest
import safetensors.torch
import torch

from tests.app.tracing.collector import Told
from tests.conftest import EXAMPLE
from tests.first_job import TRACE, FirstJob
from tests.processes import children_of, is_running, wait_for
from tests.server_sent_events import Event, events_of
from tests.shared_service import SharedService, Tenant

# The first of these tests waits for the job, on a machine that may be busy.
pytestmark = pytest.mark.timeout(900)
FOREVER: dict[str, Any] = {"representation": "predictor", "permutation": "none", "seconds": 600}


def test_a_checkpoint_goes_in_and_reconstructed_weights_come_out(first_job: FirstJob) -> None:
    job = first_job.job
    assert job["status"] == "succeeded", job["message"]
    assert job["metrics"]["reconstructed_accuracy"] > 90
    content = first_job.artifact("weights.safetensors")
    assert hashlib.sha256(content).hexdigest() == job["artifacts"]["weights.safetensors"]["sha256"]
    weights, original = safetensors.torch.load(content), safetensors.torch.load(EXAMPLE.read_bytes())
    assert {n: (t.shape, t.dtype) for n, t in weights.items()} == {n: (t.shape, t.dtype) for n, t in original.items()}
    assert torch.equal(weights["features.1.num_batches_tracked"], original["features.1.num_batches_tracked"])


def test_a_data_set_that_is_uploaded_and_deleted_serves_the_jobs_that_name_it(first_job: FirstJob) -> None:
    assert first_job.job["dataset_sha256"] == first_job.dataset["sha256"]
    assert "mine" not in [dataset["name"] for dataset in first_job.client.get("/datasets")["items"]]
    assert first_job.job["metrics"]["original_accuracy"] > 95


def test_jobs_wait_until_there_is_a_worker_for_their_device(first_job: FirstJob) -> None:
    assert first_job.waiting == ("queued", "queued")
    assert (first_job.job["status"], first_job.gpu) == ("succeeded", "queued")


def test_neither_the_api_nor_the_parent_of_the_worker_loads_torch(first_job: FirstJob) -> None:
    assert first_job.torch == {"api": False, "worker": False, "runner": True}


def test_a_job_that_is_asked_for_it_ranks_the_kernels(first_job: FirstJob) -> None:
    found = json.loads(first_job.artifact("importance.json"))
    assert (found["kernels"], found["filters"]) == (96 + 2048 + 4096 + 40, 32 + 64 + 64 + 10)
    assert found["images"] == 500
    assert found["source_sha256"] == first_job.job["checkpoint"]["sha256"]
    assert found["encoding_sha256"] == first_job.job["artifacts"]["encoding.nern"]["sha256"]
    scores = safetensors.torch.load(first_job.artifact("importance.safetensors"))
    assert scores["kernel.reconstruction-error.features.3.weight"].shape == (64, 32)
    assert first_job.artifact("pruning-curve.svg").startswith(b"<?xml")


def test_an_encode_can_be_watched_from_its_beginning_to_its_end(first_job: FirstJob) -> None:
    seen = first_job.events
    assert [event.kind for event in seen if event.kind != "progress"] == ["queued", "running", "succeeded", "end"]
    fractions = [json.loads(event.data)["data"]["fraction"] for event in seen if event.kind == "progress"]
    assert len(fractions) >= 3
    assert fractions == sorted(fractions)


def test_a_job_is_one_trace_from_the_request_to_the_phases_of_its_encoding(
    shared: SharedService, first_job: FirstJob
) -> None:
    job = first_job.job

    def spans() -> dict[str, Told]:
        return {span.name: span for span in shared.collector.spans if span.trace_id == TRACE}

    wait_for(lambda: {"POST /jobs", "encode"} <= spans().keys(), what="spans are missing")
    made, waited, encoded = (spans()[name] for name in ("POST /jobs", "queued", "encode"))
    assert (made.service, encoded.service, encoded.kind) == ("nern-api", "nern-worker", "consumer")
    assert waited.parent_id == encoded.parent_id == made.span_id
    assert encoded.attributes == {
        "nern.job.id": job["id"],
        "nern.job.attempt": "1",
        "nern.job.status": "succeeded",
    }
    parts = sorted(
        (span for span in spans().values() if span.parent_id == encoded.span_id), key=lambda span: span.start
    )
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
        "importance",
        "publish",
    ]
    # Each part begins when the previous one ends.
    assert all(part.end == following.start for part, following in pairwise(parts))
    assert waited.end <= parts[0].start + 1_000_000_000


def test_another_job_reconstructs_the_same_weights_from_an_encoding(first_job: FirstJob, tenant: Tenant) -> None:
    answer = tenant.client.http.post("/reconstructions", files={"encoding": first_job.artifact("encoding.nern")})
    assert answer.status_code == 202, answer.text
    job = tenant.client.ended(answer.headers["Location"])
    assert (job["status"], job["kind"]) == ("succeeded", "reconstruction"), job["message"]
    assert set(job["artifacts"]) == {"weights.safetensors", "weights.pt"}
    weights = tenant.client.http.get(job["artifacts"]["weights.safetensors"]["url"]).content
    assert hashlib.sha256(weights).hexdigest() == first_job.job["artifacts"]["weights.safetensors"]["sha256"]


def test_cancel_stops_the_work(first_job: FirstJob, tenant: Tenant) -> None:
    address = tenant.client.submit(**FOREVER)
    with tenant.client.http.stream("GET", f"{address}/events", headers={"Accept": "text/event-stream"}) as answer:
        trained = list(islice(progress_of_training(events_of(answer.iter_lines())), 2))
    # Each step predicts a batch of kernels, or all if there are fewer.
    assert all(point["kernels_per_second"] > point["steps_per_second"] > 0 for point in trained)
    assert len(trained) == 2
    (child,) = children_of(first_job.worker)
    answer = tenant.client.http.post(f"{address}/cancel")
    assert (answer.status_code, answer.json()["status"]) == (202, "canceling")
    assert tenant.client.ended(address, 10)["status"] == "canceled"
    assert not is_running(child)


def progress_of_training(events: Iterator[Event]) -> Iterator[dict[str, Any]]:
    """Yield the progress of a predictor's training."""
    for event in events:
        if event.kind == "progress":
            point = json.loads(event.data)["data"]
            if point["phase"] == "reconstruction" and point["step"]:
                yield point
