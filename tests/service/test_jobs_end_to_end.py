import hashlib
from datetime import timedelta
from typing import Any

import pytest
import safetensors.torch
import torch

from tests.conftest import DIGITS, EXAMPLE
from tests.dataset_files import digits_file
from tests.service.conftest import Service, children_of, has_torch, is_running, wait_for

FOREVER: dict[str, Any] = {"architecture": "digits-cnn", "representation": "predictor", "seconds": 600}


def test_a_checkpoint_goes_in_and_reconstructed_weights_come_out(service: Service) -> None:
    service.start_api()
    service.start_worker()
    dataset = str(DIGITS) if service.settings.embedded else DIGITS.name
    address = service.client.submit(architecture="digits-cnn", dataset=dataset, hidden_size=48, steps=600)
    job = service.client.ended(address)
    assert job["status"] == "succeeded", job["message"]
    assert job["metrics"]["reconstructed_accuracy"] > 90
    content = service.client.http.get(job["artifacts"]["weights.safetensors"]["url"]).content
    assert hashlib.sha256(content).hexdigest() == job["artifacts"]["weights.safetensors"]["sha256"]
    weights, original = safetensors.torch.load(content), safetensors.torch.load(EXAMPLE.read_bytes())
    assert {n: (t.shape, t.dtype) for n, t in weights.items()} == {n: (t.shape, t.dtype) for n, t in original.items()}
    assert torch.equal(weights["features.1.running_mean"], original["features.1.running_mean"])


def test_a_data_set_that_is_uploaded_and_deleted_serves_the_jobs_that_name_it(service: Service) -> None:
    service.start_api()
    uploaded = service.client.http.post("/datasets", params={"name": "mine"}, content=digits_file())
    assert uploaded.status_code == 201, uploaded.text
    options: dict[str, Any] = {"architecture": "digits-cnn", "hidden_size": 48, "steps": 600}
    address = service.client.submit(dataset="mine", **options)
    assert service.client.http.delete("/datasets/mine").status_code == 204
    service.start_worker()
    job = service.client.ended(address)
    assert job["status"] == "succeeded", job["message"]
    assert job["dataset_sha256"] == uploaded.json()["sha256"]
    assert job["metrics"]["reconstructed_accuracy"] > 90


def test_what_a_job_has_encoded_another_one_reconstructs_to_the_same_weights(service: Service) -> None:
    service.start_api()
    service.start_worker()
    encoded = service.client.ended(service.client.submit(steps=5, hidden_size=16))
    encoding = service.client.http.get(encoded["artifacts"]["encoding.nern"]["url"]).content
    answer = service.client.http.post("/reconstructions", files={"encoding": encoding})
    assert answer.status_code == 202, answer.text
    job = service.client.ended(answer.headers["Location"])
    assert (job["status"], job["kind"]) == ("succeeded", "reconstruction"), job["message"]
    assert set(job["artifacts"]) == {"weights.safetensors", "weights.pt"}
    weights = service.client.http.get(job["artifacts"]["weights.safetensors"]["url"]).content
    assert hashlib.sha256(weights).hexdigest() == encoded["artifacts"]["weights.safetensors"]["sha256"]


def test_a_job_that_is_asked_for_it_ranks_the_kernels(service: Service) -> None:
    service.start_api()
    service.start_worker()
    dataset = str(DIGITS) if service.settings.embedded else DIGITS.name
    address = service.client.submit(
        architecture="digits-cnn", dataset=dataset, hidden_size=16, steps=20, importance=True
    )
    job = service.client.ended(address)
    assert job["status"] == "succeeded", job["message"]
    answers = {
        name: service.client.http.get(job["artifacts"][name]["url"]).raise_for_status()
        for name in ("importance.json", "importance.safetensors", "pruning-curve.svg")
    }
    found = answers["importance.json"].json()
    assert (found["kernels"], found["filters"], found["images"]) == (96 + 2048 + 4096, 32 + 64 + 64, 500)
    assert found["source_sha256"] == job["checkpoint"]["sha256"]
    assert found["encoding_sha256"] == job["artifacts"]["encoding.nern"]["sha256"]
    scores = safetensors.torch.load(answers["importance.safetensors"].content)
    assert scores["kernel.reconstruction-error.features.3.weight"].shape == (64, 32)
    assert answers["pruning-curve.svg"].text.startswith("<?xml")


def test_neither_the_api_nor_the_parent_of_the_worker_loads_torch(service: Service) -> None:
    api, worker = service.start_api(), service.start_worker()
    address = service.client.submit(**FOREVER)
    service.client.training(address)
    (child,) = children_of(worker.pid)
    assert (has_torch(api.pid), has_torch(worker.pid), has_torch(child)) == (False, False, True)
    service.client.http.post(f"{address}/cancel")
    assert service.client.ended(address)["status"] == "canceled"


def test_cancel_stops_the_work(service: Service) -> None:
    service.start_api()
    worker = service.start_worker()
    address = service.client.submit(**FOREVER)
    service.client.training(address)
    (child,) = children_of(worker.pid)
    answer = service.client.http.post(f"{address}/cancel")
    assert (answer.status_code, answer.json()["status"]) == (202, "canceling")
    assert service.client.ended(address, 10)["status"] == "canceled"
    assert not is_running(child)


def test_jobs_wait_until_there_is_a_worker(service: Service) -> None:
    service.start_api()
    addresses = [service.client.submit(steps=2, hidden_size=8) for _ in range(3)]
    assert {service.client.get(address)["status"] for address in addresses} == {"queued"}
    service.start_worker()
    assert {service.client.ended(address)["status"] for address in addresses} == {"succeeded"}


def test_a_worker_that_is_told_to_stop_gives_its_job_to_the_next(service: Service) -> None:
    service.start_api()
    first = service.start_worker()
    address = service.client.submit(architecture="digits-cnn", representation="predictor", seconds=8)
    service.client.training(address)
    (child,) = children_of(first.pid)
    first.terminate()
    assert first.wait(20) == 0
    assert not is_running(child)
    service.start_worker()
    job = service.client.ended(address)
    assert (job["status"], job["attempt"]) == ("succeeded", 2)


def test_a_worker_serves_the_queue_of_its_device_only(service: Service) -> None:
    service.start_api()
    service.start_worker("cpu")
    gpu, cpu = service.client.submit(device="gpu"), service.client.submit(steps=2, hidden_size=8)
    assert service.client.ended(cpu)["status"] == "succeeded"
    assert service.client.get(gpu)["status"] == "queued"
    if not torch.cuda.is_available():
        service.start_worker("gpu")
        job = service.client.ended(gpu)
        assert (job["status"], job["error"]["code"]) == ("failed", "no_gpu")


@pytest.mark.slow
@pytest.mark.gate
def test_a_job_whose_worker_is_killed_is_run_again(service: Service) -> None:
    service.settings = service.settings.model_copy(update={"lease": timedelta(seconds=5)})
    service.start_api()
    first = service.start_worker()
    address = service.client.submit(architecture="digits-cnn", representation="predictor", seconds=8)
    service.client.training(address)
    (child,) = children_of(first.pid)
    first.kill()
    wait_for(lambda: not is_running(child), 5, "the child outlived its parent")
    service.start_worker()
    job = service.client.ended(address, 120)
    assert (job["status"], job["attempt"]) == ("succeeded", 2)
