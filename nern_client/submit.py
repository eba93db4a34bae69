"""Make a job out of a checkpoint: the checkpoint goes first, on its own; the job names it by its SHA-256."""

import json
import re
import uuid
from collections.abc import Mapping
from typing import Any

from nern_client.answers import read
from nern_client.effects import Content, Operation, Request, Work
from nern_client.errors import InvalidRequest, NernClientError
from nern_client.models import Checkpoint, Job
from nern_client.retries import Session, send
from nern_client.sources import CheckpointFile, Source
from nern_client.upload import upload_source

_KEY = re.compile(r"[ !#-\[\]-~]{1,255}")
_UNKNOWN = "unknown-checkpoint"


def create(
    session: Session, checkpoint: CheckpointFile | Checkpoint, options: Mapping[str, Any], idempotency_key: str | None
) -> Operation[Job]:
    """Send what is not there yet, and submit a job. One key for all attempts, so that they make one job."""
    key = uuid.uuid4().hex if idempotency_key is None else idempotency_key
    if not _KEY.fullmatch(key):
        raise NernClientError(
            "An idempotency key is 1 to 255 printable ASCII characters, without quotes and backslashes."
        )
    if isinstance(checkpoint, Checkpoint):
        return (yield from _submit(session, checkpoint.sha256, options, key))
    source: Source = yield Work(lambda: Source.of(checkpoint))
    yield from upload_source(session, source)
    try:
        return (yield from _submit(session, source.sha256, options, key))
    except InvalidRequest as error:
        if error.type != _UNKNOWN:
            raise
    # It has expired between the two requests.
    yield from upload_source(session, source)
    return (yield from _submit(session, source.sha256, options, key))


def _submit(session: Session, sha256: str, options: Mapping[str, Any], key: str) -> Operation[Job]:
    document = {"checkpoint": {"sha256": sha256}, "options": options}
    request = Request(
        method="POST",
        path="/jobs",
        headers={"Content-Type": "application/json", "Idempotency-Key": f'"{key}"'},
        content=Content.of(json.dumps(document).encode()),
        repeatable=True,
    )
    answer = yield from send(session, request)
    return read(session, answer, Job)
