"""Jobs through real processes. Most tests look at one job, which the service of this process has run."""

import hashlib
import json
from itertools import pairwise
from typing import Any

import safetensors.torch
import torch

from tests.app.tracing.collector import Told
from tests.conftest import EXAMPLE
from tests.first_job import TRACE
from tests.processes import children_of, is_running, wait_for
from tests.shared_service import SharedService, Tenant

FOREVER: dict[str, Any] = {"architecture": "digits-cnn", "representation": "predictor", "seconds": 600}


def test_a_checkpoint_goes_in_and_reconstructed_weights_come_out(shared: SharedService) -> None:
    job = shared.first_job.job
    assert job["status"] == "succeeded", job["message"]
    assert job["metrics"]["reconstructed_accuracy"] > 90
    content = shared.first_job.artifact("weights.safetensors")
    assert hashlib.sha256(content).hexdigest() == job["artifacts"]["weights.safetensors"]["sha256"]
    weights, original = safetensors.torch.load(content), safetensors.torch.load(EXAMPLE.read_bytes())
    assert {n: (t.shape, t.dtype) for n, t in weights.items()} == {n: (t.shape, t.dtype) for n, t in original.items()}
    assert torch.equal(weights["features.1.running_mean"], original["features.1.running_mean"])


def test_a_data_set_that_is_uploaded_and_deleted_serves_the_jobs_that_name_it(shared: SharedService) -> None:
    first = shared.first_job
    assert first.job["dataset_sha256"] == first.dataset["sha256"]
    assert first.client.get("/datasets")["items"] == []
    assert first.job["metrics"]["original_accuracy"] > 95


def test_jobs_wait_until_there_is_a_worker_for_their_device(shared: SharedService) -> None:
    first = shared.first_job
    assert first.waiting == ("queued", "queued")
    assert (first.job["status"], first.gpu) == ("succeeded", "queued")


def test_neither_the_api_nor_the_parent_of_the_worker_loads_torch(shared: SharedService) -> None:
    assert shared.first_job.torch == {"api": False, "worker": False, "runner": True}


def test_a_job_that_is_asked_for_it_ranks_the_kernels(shared: SharedService) -> None:
    first = shared.first_job
    found = json.loads(first.artifact("importance.json"))
    assert (found["kernels"], found["filters"], found["images"]) == (96 + 2048 + 4096, 32 + 64 + 64, 500)
    assert found["source_sha256"] == first.job["checkpoint"]["sha256"]
    assert found["encoding_sha256"] == first.job["artifacts"]["encoding.nern"]["sha256"]
    scores = safetensors.torch.load(first.artifact("importance.safetensors"))
    assert scores["kernel.reconstruction-error.features.3.weight"].shape == (64, 32)
    assert first.artifact("pruning-curve.svg").startswith(b"<?xml")


def test_an_encode_can_be_watched_from_its_beginning_to_its_end(shared: SharedService) -> None:
    seen = shared.first_job.events
    assert [event.kind for event in seen if event.kind != "progress"] == ["queued", "running", "succeeded", "end"]
    points = [json.loads(event.data)["data"] for event in seen if event.kind == "progress"]
    assert len(points) >= 3
    fractions = [point["fraction"] for point in points]
    assert fractions == sorted(fractions)
    trained = [point for point in points if point["phase"] == "reconstruction" and point["step"]]
    # Each step predicts a batch of kernels, or all if there are fewer.
    assert all(point["kernels_per_second"] > point["steps_per_second"] > 0 for point in trained)
    assert trained


def test_a_job_is_one_trace_from_the_request_to_the_phases_of_its_encoding(shared: SharedService) -> None:
    job = shared.first_job.job

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
        "ordering",
        "reconstruction",
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


def test_another_job_reconstructs_the_same_weights_from_an_encoding(shared: SharedService, tenant: Tenant) -> None:
    first = shared.first_job
    answer = tenant.client.http.post("/reconstructions", files={"encoding": first.artifact("encoding.nern")})
    assert answer.status_code == 202, answer.text
    job = tenant.client.ended(answer.headers["Location"])
    assert (job["status"], job["kind"]) == ("succeeded", "reconstruction"), job["message"]
    assert set(job["artifacts"]) == {"weights.safetensors", "weights.pt"}
    weights = tenant.client.http.get(job["artifacts"]["weights.safetensors"]["url"]).content
    assert hashlib.sha256(weights).hexdigest() == first.job["artifacts"]["weights.safetensors"]["sha256"]


def test_cancel_stops_the_work(shared: SharedService, tenant: Tenant) -> None:
    worker = shared.worker
    address = tenant.client.submit(**FOREVER)
    tenant.client.training(address)
    (child,) = children_of(worker)
    answer = tenant.client.http.post(f"{address}/cancel")
    assert (answer.status_code, answer.json()["status"]) == (202, "canceling")
    assert tenant.client.ended(address, 10)["status"] == "canceled"
    assert not is_running(child)
