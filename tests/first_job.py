"""The job that many tests of the service look at: it is watched from its submission to its end."""

import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from tests.dataset_files import digits_file
from tests.paths import EXAMPLE
from tests.processes import Client, children_of, has_torch
from tests.server_sent_events import Event, events_of

TRACE = "4bf92f3577b34da6a3ce929d0e0e4736"
OPTIONS: dict[str, Any] = {"architecture": "digits-cnn", "dataset": "mine", "steps": 60, "importance": True}


@dataclass(frozen=True)
class FirstJob:
    """A finished job, and what was seen of it and around it.

    `waiting` are the statuses of the jobs for the CPU and the GPU while there was no worker, `gpu` the status of the
    latter at the end. `torch` are the processes that had loaded torch while the job trained.
    """

    client: Client
    job: dict[str, Any]
    dataset: dict[str, Any]
    waiting: tuple[str, str]
    gpu: str
    worker: int
    torch: dict[str, bool]
    events: list[Event]

    def artifact(self, name: str) -> bytes:
        """Download a result."""
        return self.client.http.get(self.job["artifacts"][name]["url"]).raise_for_status().content


def run_first_job(client: Client, api: int, start_worker: Callable[[], int]) -> FirstJob:
    """Submit a job with a data set that is deleted at once, then start a worker, and watch the job to its end."""
    uploaded = client.http.post("/datasets", params={"name": "mine"}, content=digits_file())
    assert uploaded.status_code == 201, uploaded.text
    gpu = client.submit(device="gpu")
    with EXAMPLE.open("rb") as file:
        answer = client.http.post(
            "/jobs",
            files={"checkpoint": file},
            data={"options": json.dumps(OPTIONS)},
            headers={"traceparent": f"00-{TRACE}-00f067aa0ba902b7-01"},
        )
    assert answer.status_code == 202, answer.text
    address = answer.headers["Location"]
    assert client.http.delete("/datasets/mine").status_code == 204
    waiting = client.get(address)["status"], client.get(gpu)["status"]
    events: list[Event] = []
    torch: dict[str, bool] = {}
    with client.http.stream("GET", f"{address}/events", headers={"Accept": "text/event-stream"}) as answer:
        worker = start_worker()
        for event in events_of(answer.iter_lines()):
            events.append(event)
            if not torch and event.kind == "progress" and json.loads(event.data)["data"]["step"]:
                (child,) = children_of(worker)
                torch = {"api": has_torch(api), "worker": has_torch(worker), "runner": has_torch(child)}
    job = client.get(address)
    return FirstJob(client, job, uploaded.json(), waiting, client.get(gpu)["status"], worker, torch, events)
