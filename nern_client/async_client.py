"""The asynchronous client."""

import os
from collections.abc import AsyncIterator, Collection, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self, TypeVar, Unpack

import anyio
import anyio.to_thread
import httpx2

from nern_client import dataset_operations, job_operations, submit
from nern_client.connection import Server, answer_of, lost, request_arguments
from nern_client.download import download
from nern_client.effects import Answer, Content, Effect, Operation, Pause, Request
from nern_client.job_operations import OnUpdate
from nern_client.models import Checkpoint, Dataset, Job, JobEvent, JobStatus
from nern_client.options import EncodeOptions
from nern_client.proxies import AsyncProxyTransport
from nern_client.retries import Retries, Session
from nern_client.sources import LocalFile
from nern_client.upload import upload

Result = TypeVar("Result")


class AsyncClient:
    """The asynchronous version of `Client`."""

    def __init__(self, url: str | None = None, api_key: str | None = None, *, retries: Retries | None = None) -> None:
        server = Server.named(url, api_key)
        self._http = httpx2.AsyncClient(transport=AsyncProxyTransport(), **server.settings())
        performer = _Performer(self._http, Session(server.url, retries or Retries()))
        self.jobs = AsyncJobs(performer)
        self.reconstructions = AsyncReconstructions(performer)
        self.checkpoints = AsyncCheckpoints(performer)
        self.datasets = AsyncDatasets(performer)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self.close()

    async def close(self) -> None:
        """Close all connections."""
        await self._http.aclose()


class AsyncJobs:
    """Operations on jobs; see `Jobs`."""

    def __init__(self, performer: "_Performer") -> None:
        self._performer = performer

    async def create(
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
        """Submit a checkpoint; see `Jobs.create`."""
        new = submit.NewJob(
            options=options,
            name=name,
            labels=labels or {},
            webhook=webhook,
            deadline_seconds=deadline_seconds,
            idempotency_key=idempotency_key,
        )
        return await self._performer.run(submit.create(self._performer.session, checkpoint, new))

    async def get(self, job_id: str) -> Job:
        """Return a job."""
        return await self._performer.run(job_operations.get(self._performer.session, job_id))

    async def list(
        self,
        *,
        status: JobStatus | str | Collection[JobStatus | str] = (),
        kind: str | None = None,
        labels: Mapping[str, str] | None = None,
    ) -> AsyncIterator[Job]:
        """Iterate over the jobs that have one of these statuses, this kind and all these labels, newest first.

        Pages are fetched on demand.
        """
        wanted = job_operations.Wanted.of(status=status, kind=kind, labels=labels or {})
        cursor: str | None = None
        while True:
            page = await self._performer.run(job_operations.page(self._performer.session, wanted, cursor))
            for job in page.items:
                yield job
            cursor = page.next_cursor
            if cursor is None:
                return

    async def events(self, job_id: str, *, after: int = 0, follow: bool = False) -> AsyncIterator[JobEvent]:
        """Iterate over the events of a job; see `Jobs.events`."""
        session = self._performer.session
        following: int | None = after
        while following is not None:
            page = await self._performer.run(job_operations.events_after(session, job_id, following, follow=follow))
            for event in page.items:
                yield event
            following = page.next_after

    async def cancel(self, job_id: str) -> Job:
        """Cancel a job; see `Jobs.cancel`."""
        return await self._performer.run(job_operations.cancel(self._performer.session, job_id))

    async def delete(self, job_id: str) -> None:
        """Delete a job that has ended, with its files."""
        await self._performer.run(job_operations.delete(self._performer.session, job_id))

    async def wait(self, job_id: str, *, on_update: OnUpdate | None = None, timeout: float | None = None) -> Job:  # noqa: ASYNC109 # the same name as in `Client`
        """Wait until a job has succeeded; see `Jobs.wait`."""
        return await self._performer.run(job_operations.wait(self._performer.session, job_id, on_update, timeout))

    async def download(self, job_id: str, artifact: str, path: str | os.PathLike[str]) -> Path:
        """Download a result; see `Jobs.download`."""
        return await self._performer.run(download(self._performer.session, job_id, artifact, path))


class AsyncReconstructions:
    """Operations on `.nern` files; see `Reconstructions`."""

    def __init__(self, performer: "_Performer") -> None:
        self._performer = performer

    async def create(
        self,
        encoding: LocalFile | Checkpoint,
        *,
        name: str | None = None,
        labels: Mapping[str, str] | None = None,
        webhook: str | None = None,
        deadline_seconds: int | None = None,
        idempotency_key: str | None = None,
    ) -> Job:
        """Submit a `.nern` file; see `Reconstructions.create`."""
        new = submit.NewJob(
            options=None,
            name=name,
            labels=labels or {},
            webhook=webhook,
            deadline_seconds=deadline_seconds,
            idempotency_key=idempotency_key,
        )
        return await self._performer.run(submit.create(self._performer.session, encoding, new))


class AsyncCheckpoints:
    """Operations on checkpoints; see `Checkpoints`."""

    def __init__(self, performer: "_Performer") -> None:
        self._performer = performer

    async def upload(self, file: LocalFile) -> Checkpoint:
        """Upload a checkpoint for jobs; see `Checkpoints.upload`."""
        return await self._performer.run(upload(self._performer.session, file))


class AsyncDatasets:
    """Operations on data sets; see `Datasets`."""

    def __init__(self, performer: "_Performer") -> None:
        self._performer = performer

    async def upload(self, name: str, file: LocalFile) -> Dataset:
        """Upload a data set for jobs; see `Datasets.upload`."""
        return await self._performer.run(dataset_operations.upload(self._performer.session, name, file))

    async def list(self) -> Sequence[Dataset]:
        """Return your data sets and those that the operator offers, sorted by name."""
        return (await self._performer.run(dataset_operations.all_of(self._performer.session))).items

    async def get(self, name: str) -> Dataset:
        """Return an uploaded data set."""
        return await self._performer.run(dataset_operations.get(self._performer.session, name))

    async def delete(self, name: str) -> None:
        """Delete an uploaded data set; see `Datasets.delete`."""
        await self._performer.run(dataset_operations.delete(self._performer.session, name))


class _Performer:
    """Carries out the effects of operations; work on files runs in a thread."""

    def __init__(self, http: httpx2.AsyncClient, session: Session) -> None:
        self._http = http
        self.session = session

    async def run(self, operation: Operation[Result]) -> Result:
        """Carry out an operation and return its result."""
        try:
            effect = next(operation)
            while True:
                try:
                    outcome = await self._perform(effect)
                except Exception as error:  # noqa: BLE001 # the operation handles it
                    effect = operation.throw(error)
                else:
                    effect = operation.send(outcome)
        except StopIteration as ended:
            result: Result = ended.value
            return result
        finally:
            operation.close()

    async def _perform(self, effect: Effect) -> Any:  # noqa: ANN401 # the result of the effect
        if isinstance(effect, Request):
            return await self._send(effect)
        if isinstance(effect, Pause):
            return await anyio.sleep(effect.seconds)
        return await anyio.to_thread.run_sync(effect.call)

    async def _send(self, request: Request) -> Answer:
        content = None if request.content is None else _chunks(request.content)
        try:
            async with self._http.stream(content=content, **request_arguments(request)) as response:
                if request.sink is None or not request.sink.begin(answer_of(response)):
                    return answer_of(response, await response.aread())
                async for chunk in response.aiter_raw():
                    await anyio.to_thread.run_sync(request.sink.write, chunk)
                return answer_of(response)
        except httpx2.TransportError as error:
            raise lost(error) from error


async def _chunks(content: Content) -> AsyncIterator[bytes]:
    chunks = content.chunks()
    while chunk := await anyio.to_thread.run_sync(next, chunks, b""):
        yield chunk
