"""Workers that are stopped, killed, or serve another device."""

from datetime import timedelta

import pytest
import torch

from tests.processes import Service, children_of, is_running, wait_for

pytestmark = pytest.mark.slow


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


def test_a_worker_for_the_gpu_leaves_jobs_for_the_cpu_alone(service: Service) -> None:
    service.start_api()
    cpu, gpu = service.client.submit(), service.client.submit(device="gpu", steps=2, hidden_size=8)
    service.start_worker("gpu")
    job = service.client.ended(gpu)
    if not torch.cuda.is_available():
        assert (job["status"], job["error"]["code"]) == ("failed", "no_gpu")
    assert service.client.get(cpu)["status"] == "queued"


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
