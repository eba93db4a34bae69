"""Receives a file as the whole body of a request, and streams it into the artifact store."""

import os
from collections.abc import Callable
from dataclasses import dataclass
from http import HTTPStatus
from typing import BinaryIO

from starlette.requests import ClientDisconnect, Request

from app.accounting.reservations import ReservedRoom
from app.http.artifact_writers import commit, writing
from app.http.body import declared_length, inspect, read_body
from app.http.content_digest import digest_mismatch, parse_content_digest
from app.kit.problems import Problem
from app.settings import Settings
from app.storage import ArtifactStore, ArtifactWriter, StoredArtifact
from nern_core.contract.errors import NernError
from nern_core.formats.checkpoint_structure import ALREADY_ENCODED, CheckpointStructure, structure_of
from nern_core.formats.encoding_structure import check_open_encoding, decoded_bytes, graph_bytes

# Two formats of the weights, and an encoding as large as the checkpoint; an ONNX file is a third format.
_RESULTS_OF_ENCODING = 3
_RESULTS_OF_RECONSTRUCTION = 2
# For reports and headers.
_BYTES_OF_DOCUMENTS = 2**20


@dataclass(frozen=True, slots=True)
class FileKind:
    """A kind of file: its name in messages, and its check.

    `check` raises `Problem` for an invalid file. It returns the space in bytes that the results of a job may take.
    """

    name: str
    check: Callable[[BinaryIO], int]

    def too_large(self, max_bytes: int) -> Problem:
        """Return the problem for a file that exceeds the limit."""
        return Problem(
            HTTPStatus.REQUEST_ENTITY_TOO_LARGE,
            f"{self.name.replace(' ', '')}-too-large",
            f"The {self.name} is over the limit of {max_bytes:,} bytes.",
            headers={"Connection": "close"},
        )


async def receive_file(
    request: Request,
    kind: FileKind,
    content_digest: str | None,
    store: ArtifactStore,
    settings: Settings,
    room: ReservedRoom,
) -> StoredArtifact:
    """Read the whole body, which counts in the reservation `room`.

    Raises `Problem`, `DiskFull` and `StoreUnavailable`; nothing of a refused upload remains.
    """
    expected = parse_content_digest(content_digest)
    length = declared_length(request)
    if length > settings.max_upload_bytes:
        raise kind.too_large(settings.max_upload_bytes)
    async with writing(store, length, settings.disk_reserve) as writer:

        def take(data: bytes) -> None:
            if writer.size + len(data) > settings.max_upload_bytes:
                raise kind.too_large(settings.max_upload_bytes)
            room.cover(writer.size + len(data))
            writer.write(data)

        try:
            await read_body(request, take)
        except ClientDisconnect:
            raise Problem(
                HTTPStatus.BAD_REQUEST, "upload-cut-off", "The upload was interrupted; send it again."
            ) from None
        await inspect(_check, writer, kind, expected)
        return room.stored(await commit(store, writer))


def _check(writer: ArtifactWriter, kind: FileKind, expected: str | None) -> None:
    if expected not in {None, writer.sha256}:
        raise digest_mismatch(str(expected), writer.sha256, "content-digest")
    with writer.flush().open("rb") as file:
        kind.check(file)


def check_checkpoint(file: BinaryIO) -> int:
    """Raise `Problem` unless the file is a checkpoint; return the space in bytes that the results may take.

    A file with several state dicts is a checkpoint too, because a job's options choose one of them. A `.nern` file
    passes, because a reconstruction can name it.
    """
    try:
        return results_of_encoding(structure_of(file))
    except NernError as error:
        if error.code in {"ambiguous_checkpoint", ALREADY_ENCODED}:
            return _RESULTS_OF_ENCODING * file.seek(0, os.SEEK_END) + _BYTES_OF_DOCUMENTS
        raise Problem.of_input(error, "checkpoint") from error


def results_of_encoding(structure: CheckpointStructure) -> int:
    """Return the space in bytes that the weights in all formats, the encoding, report and importance may take."""
    onnx = structure.logical_bytes + 2 * structure.graph_bytes if structure.graph_bytes else 0
    return _RESULTS_OF_ENCODING * structure.logical_bytes + onnx + _BYTES_OF_DOCUMENTS


def check_encoding(file: BinaryIO) -> int:
    """Raise `Problem` unless the file is a complete `.nern` file; return the bytes of its weights in all formats."""
    try:
        check_open_encoding(file)
        decoded, graph = decoded_bytes(file), graph_bytes(file)
        onnx = decoded + graph if graph else 0
        return _RESULTS_OF_RECONSTRUCTION * decoded + onnx + _BYTES_OF_DOCUMENTS
    except NernError as error:
        raise Problem.of_input(error, "encoding") from error


CHECKPOINT = FileKind("checkpoint", check_checkpoint)
ENCODING = FileKind("encoding", check_encoding)
