"""Submit a job: upload the file first, then create the job with the file's SHA-256."""

import json
import re
import uuid
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from nern_client.answers import read
from nern_client.effects import Content, Operation, Request, Work
from nern_client.errors import InvalidRequest, NernClientError
from nern_client.models import Checkpoint, Job
from nern_client.retries import Session, send
from nern_client.sources import LocalFile, Source
from nern_client.upload import upload_source

_KEY = re.compile(r"[ !#-\[\]-~]{1,255}")
_UNKNOWN = "unknown-checkpoint"


@dataclass(frozen=True, slots=True, kw_only=True)
class NewJob:
    """A job to submit: options of an encoding, name, labels, webhook to notify at the end, and deadline.

    Without options, it is a reconstruction. The same `idempotency_key` returns the same job; without one, each
    submission creates a new job.
    """

    options: Mapping[str, Any] | None
    name: str | None = None
    labels: Mapping[str, str] = field(default_factory=dict)
    webhook: str | None = None
    deadline_seconds: int | None = None
    idempotency_key: str | None = None

    @property
    def path(self) -> str:
        """The path to submit the job to."""
        return "/reconstructions" if self.options is None else "/jobs"

    def document(self, sha256: str, file_name: str | None) -> dict[str, Any]:
        """Return the body of the request, for an uploaded file. The job's name defaults to that of the file."""
        document: dict[str, Any] = (
            {"encoding": {"sha256": sha256}}
            if self.options is None
            else {"checkpoint": {"sha256": sha256}, "options": self.options}
        )
        name = self.name or file_name
        document |= {"name": name} if name else {}
        document |= {"labels": self.labels} if self.labels else {}
        document |= {"webhook": {"url": self.webhook}} if self.webhook else {}
        return document | ({} if self.deadline_seconds is None else {"deadline_seconds": self.deadline_seconds})


def create(session: Session, file: LocalFile | Checkpoint, new: NewJob) -> Operation[Job]:
    """Upload the file if needed, then submit a job. All attempts use one key, so that they create one job."""
    key = uuid.uuid4().hex if new.idempotency_key is None else new.idempotency_key
    if not _KEY.fullmatch(key):
        raise NernClientError(
            "The idempotency key must be 1 to 255 printable ASCII characters, without quotes and backslashes."
        )
    if isinstance(file, Checkpoint):
        return (yield from _submit(session, new, file.sha256, file.name, key))
    source: Source = yield Work(lambda: Source.of(file))
    yield from upload_source(session, source)
    try:
        return (yield from _submit(session, new, source.sha256, source.name, key))
    except InvalidRequest as error:
        if error.type != _UNKNOWN:
            raise
    # The file expired between the two requests.
    yield from upload_source(session, source)
    return (yield from _submit(session, new, source.sha256, source.name, key))


def _submit(session: Session, new: NewJob, sha256: str, file_name: str | None, key: str) -> Operation[Job]:
    request = Request(
        method="POST",
        path=new.path,
        headers={"Content-Type": "application/json", "Idempotency-Key": f'"{key}"'},
        content=Content.of(json.dumps(new.document(sha256, file_name)).encode()),
        repeatable=True,
    )
    answer = yield from send(session, request)
    return read(session, answer, Job)
