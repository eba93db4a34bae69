"""The synchronous client."""

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
    """Client of one service; threads may share it.

    Without arguments, the URL and the API key come from NERN_URL and NERN_API_KEY. The default URL is that of
    `nern serve` on this machine.

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
    """Operations on jobs. Every method raises `ApiError`, `ServerUnreachable` and `UnexpectedAnswer`."""

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
        """Submit a checkpoint: a path, an open file, or the result of `checkpoints.upload`.

        `name` is a name for people, by default that of the file. `list` filters by `labels`. The service notifies the
        address `webhook` when the job has ended. A job that has not ended after `deadline_seconds` fails. The same
        `idempotency_key` returns the same job, also in another process; by default each call has its own key.
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
        """Return a job."""
        return self._performer.run(job_operations.get(self._performer.session, job_id))

    def list(
        self,
        *,
        status: JobStatus | str | Collection[JobStatus | str] = (),
        kind: str | None = None,
        labels: Mapping[str, str] | None = None,
    ) -> Iterator[Job]:
        """Iterate over the jobs that have one of these statuses, this kind and all these labels, newest first.

        Pages are fetched on demand.
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
        """Iterate over the events of a job after number `after`; with `follow`, wait for new ones until it ends."""
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
        """Download a result. The file appears once it is complete and its checksum is that of the job's result.

        An interrupted download is resumed by the next call. Raises `NoSuchArtifact` and `DigestMismatch`.
        """
        return self._performer.run(download(self._performer.session, job_id, artifact, path))


class Reconstructions:
    """Operations on `.nern` files. Every method raises `ApiError`, `ServerUnreachable` and `UnexpectedAnswer`."""

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
        """Submit a `.nern` file: a path, an open file, or the result of `checkpoints.upload`.

        Name, labels, webhook, deadline and key are those of `Jobs.create`. Returns a job: wait for it with `jobs.wait`,
        then get `weights.safetensors` or `weights.pt` with `jobs.download`.
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
    """Operations on checkpoints. Every method raises `ApiError`, `ServerUnreachable` and `UnexpectedAnswer`."""

    def __init__(self, performer: "_Performer") -> None:
        self._performer = performer

    def upload(self, file: LocalFile) -> Checkpoint:
        """Upload a checkpoint for jobs, unless the service has it. The upload of a large one can be resumed."""
        return self._performer.run(upload(self._performer.session, file))


class Datasets:
    """Operations on data sets. Every method raises `ApiError`, `ServerUnreachable` and `UnexpectedAnswer`."""

    def __init__(self, performer: "_Performer") -> None:
        self._performer = performer

    def upload(self, name: str, file: LocalFile) -> Dataset:
        """Upload a data set, a .safetensors file, for jobs. Uploading the same file again is a no-op.

        The upload of a large file can be resumed. Raises `Conflict` if another data set has this name.
        """
        return self._performer.run(dataset_operations.upload(self._performer.session, name, file))

    def list(self) -> Sequence[Dataset]:
        """Return your data sets and those that the operator offers, sorted by name."""
        return self._performer.run(dataset_operations.all_of(self._performer.session)).items

    def get(self, name: str) -> Dataset:
        """Return an uploaded data set."""
        return self._performer.run(dataset_operations.get(self._performer.session, name))

    def delete(self, name: str) -> None:
        """Delete an uploaded data set. Jobs that use it keep it until they end."""
        self._performer.run(dataset_operations.delete(self._performer.session, name))


class _Performer:
    """Carries out the effects of operations."""

    def __init__(self, http: httpx2.Client, session: Session) -> None:
        self._http = http
        self.session = session

    def run(self, operation: Operation[Result]) -> Result:
        """Carry out an operation and return its result."""
        with contextlib.closing(operation):
            try:
                effect = next(operation)
                while True:
                    try:
                        outcome = self._perform(effect)
                    except Exception as error:  # noqa: BLE001 # the operation handles it
                        effect = operation.throw(error)
                    else:
                        effect = operation.send(outcome)
            except StopIteration as ended:
                result: Result = ended.value
                return result

    def _perform(self, effect: Effect) -> Any:  # noqa: ANN401 # the result of the effect
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
