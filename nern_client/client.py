"""The client for ordinary programs."""

import contextlib
import os
import time
from collections.abc import Collection, Iterator, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self, TypeVar, Unpack

import httpx2

from nern_client import dataset_operations, job_operations, submit
from nern_client.connection import Server, answer_of, lost, request_arguments
from nern_client.download import download
from nern_client.effects import Answer, Effect, Operation, Pause, Request
from nern_client.job_operations import OnUpdate
from nern_client.models import Checkpoint, Dataset, Job, JobEvent, JobStatus
from nern_client.options import EncodeOptions
from nern_client.proxies import ProxyTransport
from nern_client.retries import Retries, Session
from nern_client.sources import LocalFile
from nern_client.upload import upload

Result = TypeVar("Result")


class Client:
    """Speaks to one service; threads may share it.

    Without arguments, NERN_URL and NERN_API_KEY say where the service is and with which key; without these it is the
    one that `nern serve` runs on this machine.

        with Client() as client:
            job = client.jobs.create("model.safetensors", seconds=45)
            job = client.jobs.wait(job.id)
            client.jobs.download(job.id, "weights.safetensors", "weights.safetensors")
    """

    def __init__(self, url: str | None = None, api_key: str | None = None, *, retries: Retries | None = None) -> None:
        server = Server.named(url, api_key)
        self._http = httpx2.Client(transport=ProxyTransport(), **server.settings())
        performer = _Performer(self._http, Session(server.url, retries or Retries()))
        self.jobs = Jobs(performer)
        self.reconstructions = Reconstructions(performer)
        self.checkpoints = Checkpoints(performer)
        self.datasets = Datasets(performer)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close all connections."""
        self._http.close()


class Jobs:
    """What can be done with jobs. Every method raises `ApiError` and `ServerUnreachable`."""

    def __init__(self, performer: "_Performer") -> None:
        self._performer = performer

    def create(
        self,
        checkpoint: LocalFile | Checkpoint,
        *,
        name: str | None = None,
        labels: Mapping[str, str] | None = None,
        webhook: str | None = None,
        deadline_seconds: int | None = None,
        idempotency_key: str | None = None,
        **options: Unpack[EncodeOptions],
    ) -> Job:
        """Submit a checkpoint: a path, an open file, or one that `checkpoints.upload` has sent.

        `name` is what people call it by, that of the file by default; `labels` are for `list` to find it by; `webhook`
        is an address that is told when the job has ended; after `deadline_seconds` a job that has not ended fails. The
        same `idempotency_key` makes the same job, also in another process; by default each call has its own.
        """
        new = submit.NewJob(
            options=options,
            name=name,
            labels=labels or {},
            webhook=webhook,
            deadline_seconds=deadline_seconds,
            idempotency_key=idempotency_key,
        )
        return self._performer.run(submit.create(self._performer.session, checkpoint, new))

    def get(self, job_id: str) -> Job:
        """Find a job."""
        return self._performer.run(job_operations.get(self._performer.session, job_id))

    def list(
        self,
        *,
        status: JobStatus | str | Collection[JobStatus | str] = (),
        kind: str | None = None,
        labels: Mapping[str, str] | None = None,
    ) -> Iterator[Job]:
        """All jobs of one of these statuses and this kind with these labels, newest first.

        Pages are fetched as they are needed.
        """
        wanted = job_operations.Wanted.of(status=status, kind=kind, labels=labels or {})
        cursor: str | None = None
        while True:
            page = self._performer.run(job_operations.page(self._performer.session, wanted, cursor))
            yield from page.items
            cursor = page.next_cursor
            if cursor is None:
                return

    def events(self, job_id: str, *, after: int = 0, follow: bool = False) -> Iterator[JobEvent]:
        """What has happened to a job after the event of this number; with `follow` also what happens, to its end."""
        session = self._performer.session
        following: int | None = after
        while following is not None:
            page = self._performer.run(job_operations.events_after(session, job_id, following, follow=follow))
            yield from page.items
            following = page.next_after

    def cancel(self, job_id: str) -> Job:
        """Cancel a job. A running one is `canceling` until its worker has stopped."""
        return self._performer.run(job_operations.cancel(self._performer.session, job_id))

    def delete(self, job_id: str) -> None:
        """Delete a job that has ended, with its files."""
        self._performer.run(job_operations.delete(self._performer.session, job_id))

    def wait(self, job_id: str, *, on_update: OnUpdate | None = None, timeout: float | None = None) -> Job:
        """Wait until a job has succeeded; `on_update` is called with every change, `timeout` is in seconds.

        Raises `JobFailed`, `JobCanceled` and `WaitTimeout`.
        """
        return self._performer.run(job_operations.wait(self._performer.session, job_id, on_update, timeout))

    def download(self, job_id: str, artifact: str, path: str | os.PathLike[str]) -> Path:
        """Bring a result into a file, which appears when it is whole and has the digest that the job tells.

        What has arrived when a download is given up is used by the next one. Raises `NoSuchArtifact` and
        `DigestMismatch`.
        """
        return self._performer.run(download(self._performer.session, job_id, artifact, path))


class Reconstructions:
    """What can be done with `.nern` files. Every method raises `ApiError` and `ServerUnreachable`."""

    def __init__(self, performer: "_Performer") -> None:
        self._performer = performer

    def create(
        self,
        encoding: LocalFile | Checkpoint,
        *,
        name: str | None = None,
        labels: Mapping[str, str] | None = None,
        webhook: str | None = None,
        deadline_seconds: int | None = None,
        idempotency_key: str | None = None,
    ) -> Job:
        """Submit a `.nern` file: a path, an open file, or one that `checkpoints.upload` has sent.

        Name, labels, webhook, deadline and key are those of `Jobs.create`. What comes of it is a job: `jobs.wait` waits
        for it, and `jobs.download` brings its `weights.safetensors` or `weights.pt`.
        """
        new = submit.NewJob(
            options=None,
            name=name,
            labels=labels or {},
            webhook=webhook,
            deadline_seconds=deadline_seconds,
            idempotency_key=idempotency_key,
        )
        return self._performer.run(submit.create(self._performer.session, encoding, new))


class Checkpoints:
    """What can be done with checkpoints. Every method raises `ApiError` and `ServerUnreachable`."""

    def __init__(self, performer: "_Performer") -> None:
        self._performer = performer

    def upload(self, file: LocalFile) -> Checkpoint:
        """Send a checkpoint for jobs to name, unless the service has it. A large one goes on where it broke off."""
        return self._performer.run(upload(self._performer.session, file))


class Datasets:
    """What can be done with data sets. Every method raises `ApiError` and `ServerUnreachable`."""

    def __init__(self, performer: "_Performer") -> None:
        self._performer = performer

    def upload(self, name: str, file: LocalFile) -> Dataset:
        """Send a data set, a .safetensors file, for jobs to name. The same file again changes nothing.

        A large one goes on where it broke off. Another one of this name is a `Conflict`.
        """
        return self._performer.run(dataset_operations.upload(self._performer.session, name, file))

    def list(self) -> Sequence[Dataset]:
        """Your data sets and those that the operator offers, by name."""
        return self._performer.run(dataset_operations.all_of(self._performer.session)).items

    def get(self, name: str) -> Dataset:
        """Find a data set that was uploaded."""
        return self._performer.run(dataset_operations.get(self._performer.session, name))

    def delete(self, name: str) -> None:
        """Delete a data set that was uploaded. Jobs that use it keep it to their end."""
        self._performer.run(dataset_operations.delete(self._performer.session, name))


class _Performer:
    """Does what operations ask for."""

    def __init__(self, http: httpx2.Client, session: Session) -> None:
        self._http = http
        self.session = session

    def run(self, operation: Operation[Result]) -> Result:
        """Carry out an operation; returns its result."""
        with contextlib.closing(operation):
            try:
                effect = next(operation)
                while True:
                    try:
                        outcome = self._perform(effect)
                    except Exception as error:  # noqa: BLE001 # the operation knows what to make of it
                        effect = operation.throw(error)
                    else:
                        effect = operation.send(outcome)
            except StopIteration as ended:
                result: Result = ended.value
                return result

    def _perform(self, effect: Effect) -> Any:  # noqa: ANN401 # what the effect brings
        if isinstance(effect, Request):
            return self._send(effect)
        if isinstance(effect, Pause):
            return time.sleep(effect.seconds)
        return effect.call()

    def _send(self, request: Request) -> Answer:
        content = None if request.content is None else request.content.chunks()
        try:
            with self._http.stream(content=content, **request_arguments(request)) as response:
                if request.sink is None or not request.sink.begin(answer_of(response)):
                    return answer_of(response, response.read())
                for chunk in response.iter_raw():
                    request.sink.write(chunk)
                return answer_of(response)
        except httpx2.TransportError as error:
            raise lost(error) from error
