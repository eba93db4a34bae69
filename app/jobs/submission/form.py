"""Submissions: the multipart form of a new job, streamed into the artifact store as it arrives.

The parser holds about a mebibyte at a time, and limits the headers of parts. Parsing, hashing and writing happen in a
thread, so a large upload neither fills the memory nor delays other requests.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta
from http import HTTPStatus

from python_multipart.exceptions import MultipartParseError
from python_multipart.multipart import MAX_BOUNDARY_LENGTH, MultipartParser, parse_options_header
from starlette.requests import ClientDisconnect, Request

from app.accounting.reservations import ReservedRoom
from app.http.artifact_writers import commit, writing
from app.http.body import declared_length, inspect, read_body
from app.jobs.submission.deadline import parse_deadline
from app.jobs.submission.labels import parse_labels
from app.jobs.submission.model import LARGEST_OPTIONS, FindDataset, Submission, file_for, parse_options
from app.jobs.submission.names import parse_name
from app.kit.file_names import name_of_file
from app.kit.problems import FieldProblem, Problem
from app.outbound.client import OutboundClient
from app.settings import Settings
from app.storage import ArtifactStore, ArtifactWriter, StoredArtifact
from app.uploads.receiving import CHECKPOINT, ENCODING, FileKind
from app.webhooks.webhook import Webhook, check_address, parse_webhook
from nern_core.contract.options import EncodeOptions

# Allowance for everything but the file: boundaries, headers of parts, options.
FORM_OVERHEAD = 2**20


@dataclass(frozen=True, slots=True)
class Form:
    """Parts of a form: a file, named by its kind, and optional documents."""

    file: FileKind
    documents: frozenset[str]
    example: str

    @property
    def how_to(self) -> str:
        """Instruction for the end of an error message."""
        return f"send the form like this: {self.example}"


JOB_FORM = Form(
    CHECKPOINT,
    frozenset({"options", "name", "labels", "webhook", "deadline_seconds"}),
    "curl -F checkpoint=@model.safetensors -F 'options={…}' .../jobs",
)
RECONSTRUCTION_FORM = Form(
    ENCODING,
    frozenset({"name", "labels", "webhook", "deadline_seconds"}),
    "curl -F encoding=@model.nern .../reconstructions",
)


async def receive_submission(
    request: Request,
    form: Form,
    store: ArtifactStore,
    settings: Settings,
    outbound: OutboundClient,
    find_dataset: FindDataset,
    room: ReservedRoom,
) -> Submission:
    """Read the whole form; its file counts in the reservation `room`.

    `find_dataset` is called with the data set that the options name. Raises `Problem`, `DiskFull` and
    `StoreUnavailable`; nothing of a refused upload remains.
    """
    boundary = _boundary(request, form)
    length = declared_length(request)
    if length > settings.max_upload_bytes + FORM_OVERHEAD:
        raise form.file.too_large(settings.max_upload_bytes)
    async with writing(store, length, settings.disk_reserve) as writer:
        arriving = _ArrivingForm(form, boundary, writer, settings, find_dataset)

        def take(data: bytes) -> None:
            arriving.feed(data)
            room.cover(writer.size)

        try:
            await read_body(request, take)
        except ClientDisconnect:
            raise _malformed("The upload was interrupted", form) from None
        await inspect(arriving.finish)
        if arriving.webhook is not None:
            await check_address(arriving.webhook, outbound)
        return arriving.submission(room.stored(await commit(store, writer)))


class _ArrivingForm:
    """A form that is still arriving."""

    def __init__(
        self,
        form: Form,
        boundary: bytes,
        writer: ArtifactWriter,
        settings: Settings,
        find_dataset: FindDataset,
    ) -> None:
        self._parser = MultipartParser(
            boundary,
            {
                "on_part_begin": self._begin_part,
                "on_header_field": self._add_header_name,
                "on_header_value": self._add_header_value,
                "on_header_end": self._end_header,
                "on_headers_finished": self._end_headers,
                "on_part_data": self._add_data,
                "on_part_end": self._end_part,
                "on_end": self._end,
            },
        )
        self._form = form
        self._writer = writer
        self._settings = settings
        self._find_dataset = find_dataset
        self._received = 0
        self._header_name, self._header_value = bytearray(), bytearray()
        self._part = ""
        self._seen: set[str] = set()
        self._text = bytearray()
        self._options = EncodeOptions() if "options" in form.documents else None
        self._dataset: StoredArtifact | None = None
        self._name: str | None = None
        self._file_name: str | None = None
        self._labels: Mapping[str, str] = {}
        self.webhook: Webhook | None = None
        self._deadline: timedelta | None = None
        self._complete = False
        self._result_bytes = 0

    def feed(self, data: bytes) -> None:
        """Take the next bytes of the body."""
        self._received += len(data)
        if self._received > self._settings.max_upload_bytes + FORM_OVERHEAD:
            raise self._form.file.too_large(self._settings.max_upload_bytes)
        try:
            self._parser.write(data)
        except MultipartParseError as error:
            raise _malformed("The body is not a multipart form", self._form) from error

    def finish(self) -> None:
        """Check that the form is complete, and check its file."""
        if not self._complete:
            raise _malformed("The form is incomplete", self._form)
        part = self._form.file.name
        if part not in self._seen:
            detail = f"The form has no part `{part}`; {self._form.how_to}."
            fields = [FieldProblem(field=part, detail=detail)]
            raise Problem(HTTPStatus.UNPROCESSABLE_ENTITY, f"missing-{part}", detail, errors=fields)
        with self._writer.flush().open("rb") as file:
            self._result_bytes = file_for(self._options).check(file)

    def submission(self, file: StoredArtifact) -> Submission:
        """Return the submission, given the stored file."""
        return Submission(
            file,
            self._options,
            name=self._name,
            file_name=self._file_name,
            labels=self._labels,
            webhook=self.webhook,
            deadline=self._deadline,
            dataset=self._dataset,
            result_bytes=self._result_bytes,
        )

    def _begin_part(self) -> None:
        self._part = ""

    def _add_header_name(self, data: bytes, start: int, end: int) -> None:
        self._header_name += data[start:end]

    def _add_header_value(self, data: bytes, start: int, end: int) -> None:
        self._header_value += data[start:end]

    def _end_header(self) -> None:
        if self._header_name.lower() == b"content-disposition":
            _, parameters = parse_options_header(bytes(self._header_value))
            self._part = parameters.get(b"name", b"").decode("utf-8", "replace")
            if self._part == self._form.file.name:
                self._file_name = name_of_file(parameters.get(b"filename", b"").decode("utf-8", "replace"))
        self._header_name.clear()
        self._header_value.clear()

    def _end_headers(self) -> None:
        if self._part not in {self._form.file.name, *self._form.documents} or self._part in self._seen:
            problem = "has two parts" if self._part in self._seen else "has an unknown part"
            detail = f"The form {problem} named {self._part[:64]!r}; {self._form.how_to}."
            fields = [FieldProblem(field=self._part[:64], detail=detail)]
            raise Problem(HTTPStatus.UNPROCESSABLE_ENTITY, "unexpected-part", detail, errors=fields)
        self._seen.add(self._part)

    def _add_data(self, data: bytes, start: int, end: int) -> None:
        if self._part in self._form.documents:
            self._text += data[start:end]
            if len(self._text) > LARGEST_OPTIONS:
                raise Problem(
                    HTTPStatus.REQUEST_ENTITY_TOO_LARGE,
                    f"{self._part}-too-large",
                    f"The part `{self._part}` is over 64 KiB.",
                )
            return
        self._writer.write(memoryview(data)[start:end])
        if self._writer.size > self._settings.max_upload_bytes:
            raise self._form.file.too_large(self._settings.max_upload_bytes)

    def _end_part(self) -> None:
        text = bytes(self._text)
        self._text.clear()
        match self._part:
            case "options":
                self._options, self._dataset = parse_options(text, self._find_dataset)
            case "name":
                self._name = parse_name(text)
            case "labels":
                self._labels = parse_labels(text)
            case "webhook":
                self.webhook = parse_webhook(text)
            case "deadline_seconds":
                self._deadline = parse_deadline(text)

    def _end(self) -> None:
        self._complete = True


def _boundary(request: Request, form: Form) -> bytes:
    kind, parameters = parse_options_header(request.headers.get("content-type", ""))
    if kind != b"multipart/form-data" or not parameters.get(b"boundary"):
        raise Problem(
            HTTPStatus.UNSUPPORTED_MEDIA_TYPE, "not-a-form", f"The body is not a multipart form; {form.how_to}."
        )
    boundary = parameters[b"boundary"]
    if len(boundary) > MAX_BOUNDARY_LENGTH:
        raise _malformed(f"The boundary of the form has more than {MAX_BOUNDARY_LENGTH} bytes", form)
    return boundary


def _malformed(what: str, form: Form) -> Problem:
    return Problem(HTTPStatus.BAD_REQUEST, "malformed-form", f"{what}; {form.how_to}.")
