"""Upload files: skip those that the service has; send large ones in pieces that can be resumed."""

import base64
from collections.abc import Mapping
from functools import partial
from typing import Final
from urllib.parse import quote

from nern_client.answers import header, read
from nern_client.effects import Answer, Operation, Request, Work
from nern_client.errors import Conflict, InvalidRequest, NernClientError, NotFound
from nern_client.models import Checkpoint
from nern_client.retries import Attempts, Session, send, send_once
from nern_client.sources import LocalFile, Source
from nern_client.upload_memory import UploadMemory

LARGEST_IN_ONE_PIECE: Final = 64 * 2**20
# The server reads a large file again before it answers.
_SECONDS_TO_STORE = 600.0
_TUS = {"Tus-Resumable": "1.0.0"}
_MOST_BEGINNINGS = 3


def upload(session: Session, file: LocalFile) -> Operation[Checkpoint]:
    """Upload a checkpoint, unless the service has it. Its name is that of this file, whatever it was sent as before."""
    source: Source = yield Work(lambda: Source.of(file))
    found = yield from upload_source(session, source)
    return found if source.name is None else found.model_copy(update={"name": source.name})


def upload_source(session: Session, source: Source) -> Operation[Checkpoint]:
    """Upload a file whose digest is known, unless the service has it."""
    try:
        return (yield from _find(session, source.sha256))
    except NotFound:
        if source.size > LARGEST_IN_ONE_PIECE:
            yield from send_in_pieces(session, source)
            return (yield from _find(session, source.sha256))
        answer = yield from send_whole(session, source, "/checkpoints")
        return read(session, answer, Checkpoint)


def _find(session: Session, sha256: str) -> Operation[Checkpoint]:
    answer = yield from send(session, Request(method="GET", path=f"/checkpoints/{sha256}", repeatable=True))
    return read(session, answer, Checkpoint)


def send_whole(
    session: Session, source: Source, path: str, query: Mapping[str, str] | None = None
) -> Operation[Answer]:
    """Send a file as the body of one request, with retries."""
    request = Request(
        method="POST",
        path=path,
        query=query or {},
        headers={
            "Content-Type": "application/octet-stream",
            "Content-Digest": source.content_digest,
            **({} if source.name is None else {"Content-Disposition": _disposition(source.name)}),
        },
        content=source.content(),
        repeatable=True,
        seconds_to_answer=_SECONDS_TO_STORE,
    )
    return (yield from send(session, request))


def _disposition(name: str) -> str:
    """Return the header that names a file (RFC 6266), in ASCII for any name."""
    return f"attachment; filename*=UTF-8''{quote(name, safe='')}"


def send_in_pieces(session: Session, source: Source) -> Operation[None]:
    """Resume an upload, or begin one; begin again if the server no longer knows it."""
    memory = UploadMemory(session.url, source.sha256)
    address: str | None = yield Work(memory.recall)
    for _ in range(_MOST_BEGINNINGS):
        if address is None:
            address = yield from _begin(session, source)
            yield Work(partial(memory.keep, address))
        try:
            finished = yield from _go_on(session, source, address)
        except InvalidRequest as error:
            if not error.temporary:
                yield Work(memory.forget)
            raise
        if finished:
            yield Work(memory.forget)
            return
        address = None
    yield Work(memory.forget)
    raise NernClientError(f"The server has lost the upload {_MOST_BEGINNINGS} times; ask its operator for help.")


def _go_on(session: Session, source: Source, address: str) -> Operation[bool]:
    """Send the rest in one piece; after each failure, ask the server for the offset and resume.

    Returns true if the upload is finished, false if the server does not know it.
    """
    attempts, furthest = Attempts(session), 0
    while True:
        offset = yield from _offset(session, address)
        if offset is None or offset == source.size:
            return offset is not None
        if offset > furthest:
            furthest = offset
            attempts.went_on()
        try:
            yield from send_once(session, _rest(source, address, offset))
        except NernClientError as error:
            # The next request for the offset shows the state of the upload.
            if not (error.temporary or isinstance(error, (Conflict, NotFound))):
                raise
            yield attempts.after(error)


def _begin(session: Session, source: Source) -> Operation[str]:
    metadata = {"sha256": source.sha256} | ({} if source.name is None else {"filename": source.name})
    pairs = [f"{key} {base64.b64encode(value.encode()).decode()}" for key, value in metadata.items()]
    request = Request(
        method="POST",
        path="/uploads",
        headers=_TUS | {"Upload-Length": str(source.size), "Upload-Metadata": ",".join(pairs)},
        # An upload that nobody resumes expires.
        repeatable=True,
    )
    answer = yield from send(session, request)
    return header(session, answer, "location")


def _offset(session: Session, address: str) -> Operation[int | None]:
    """Return the number of bytes that the server has; None if it no longer knows the upload."""
    try:
        answer = yield from send(session, Request(method="HEAD", path=address, headers=_TUS, repeatable=True))
    except NotFound:
        return None
    return int(header(session, answer, "upload-offset"))


def _rest(source: Source, address: str, offset: int) -> Request:
    return Request(
        method="PATCH",
        path=address,
        headers=_TUS | {"Upload-Offset": str(offset), "Content-Type": "application/offset+octet-stream"},
        content=source.content(offset),
        seconds_to_answer=_SECONDS_TO_STORE,
    )
