"""A submission: the multipart form of `POST /jobs`, streamed into the artifact store as it arrives.

The parser holds about a mebibyte at a time. Parsing, hashing and writing happen in a thread, so that
a large upload neither fills the memory nor holds up other requests.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from http import HTTPStatus
from pathlib import Path

from pydantic import ValidationError
from python_multipart.exceptions import MultipartParseError
from python_multipart.multipart import MultipartParser, parse_options_header
from starlette.requests import ClientDisconnect, Request

from app.body import declared_length, in_turn, read_body
from app.datasets.service import NamedDataset
from app.jobs.labels import parse_labels
from app.outbound.client import OutboundClient
from app.problems import Problem
from app.settings import Settings
from app.storage import ArtifactStore, ArtifactWriter, StoredArtifact
from app.uploads.receiving import CHECKPOINT, structure_of
from app.webhooks.webhook import Webhook, check_address, parse_webhook
from nern_core.checkpoint_structure import refuse_without_kernels
from nern_core.errors import NernError
from nern_core.options import EncodeOptions

LARGEST_OPTIONS = 64 * 2**10
# What a form may have beside the checkpoint: boundaries, headers of parts, options.
_FORM_OVERHEAD = 2**20
# The parts that are JSON.
_DOCUMENTS = frozenset({"options", "labels", "webhook"})
_HOW_TO = "send the form like this: curl -F checkpoint=@model.safetensors -F 'options={…}' .../jobs"


FindDataset = Callable[[str], NamedDataset]


@dataclass(frozen=True, slots=True)
class Submission:
    """A stored checkpoint and what is to be done with it. `dataset` is the uploaded one that the options name."""

    checkpoint: StoredArtifact
    options: EncodeOptions
    labels: Mapping[str, str] = field(default_factory=dict)
    webhook: Webhook | None = None
    dataset: StoredArtifact | None = None


async def receive_submission(
    request: Request,
    store: ArtifactStore,
    settings: Settings,
    outbound: OutboundClient,
    find_dataset: FindDataset,
    go_on: Callable[[], None],
) -> Submission:
    """Read the form to its end, calling `go_on` now and then, and `find_dataset` with what its options name.

    Raises `Problem` and `DiskFull`; nothing of a refused upload remains.
    """
    boundary = _boundary(request)
    length = declared_length(request)
    if length > settings.max_upload_bytes + _FORM_OVERHEAD:
        raise CHECKPOINT.too_large(settings.max_upload_bytes)
    with store.writer(length, settings.disk_reserve) as writer:
        form = _Form(boundary, writer, settings, outbound, find_dataset)

        def take(data: bytes) -> None:
            go_on()
            form.feed(data)

        try:
            await read_body(request, take)
        except ClientDisconnect:
            raise _malformed("The upload was cut off") from None
        return await in_turn(form.finish)


class _Form:
    """The form as far as it has arrived."""

    def __init__(
        self,
        boundary: bytes,
        writer: ArtifactWriter,
        settings: Settings,
        outbound: OutboundClient,
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
        self._writer = writer
        self._settings = settings
        self._outbound = outbound
        self._find_dataset = find_dataset
        self._received = 0
        self._header_name, self._header_value = bytearray(), bytearray()
        self._part = ""
        self._seen: set[str] = set()
        self._text = bytearray()
        self._options = EncodeOptions()
        self._dataset: StoredArtifact | None = None
        self._labels: Mapping[str, str] = {}
        self._webhook: Webhook | None = None
        self._complete = False

    def feed(self, data: bytes) -> None:
        """Take the next bytes of the body."""
        self._received += len(data)
        if self._received > self._settings.max_upload_bytes + _FORM_OVERHEAD:
            raise CHECKPOINT.too_large(self._settings.max_upload_bytes)
        try:
            self._parser.write(data)
        except MultipartParseError as error:
            raise _malformed("The body is not a multipart form") from error

    def finish(self) -> Submission:
        """The form is at its end: check the file and put it in its place."""
        if not self._complete:
            raise _malformed("The form is cut short")
        if "checkpoint" not in self._seen:
            raise Problem(
                HTTPStatus.UNPROCESSABLE_ENTITY, "missing-checkpoint", f"The form has no part `checkpoint`; {_HOW_TO}."
            )
        refuse_unfit(self._writer.flush(), self._options)
        return Submission(self._writer.commit(), self._options, self._labels, self._webhook, self._dataset)

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
        self._header_name.clear()
        self._header_value.clear()

    def _end_headers(self) -> None:
        if self._part not in {"checkpoint", *_DOCUMENTS} or self._part in self._seen:
            problem = "has two parts" if self._part in self._seen else "has an unknown part"
            raise Problem(
                HTTPStatus.UNPROCESSABLE_ENTITY,
                "unexpected-part",
                f"The form {problem} named {self._part[:64]!r}; {_HOW_TO}.",
            )
        self._seen.add(self._part)

    def _add_data(self, data: bytes, start: int, end: int) -> None:
        if self._part in _DOCUMENTS:
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
            raise CHECKPOINT.too_large(self._settings.max_upload_bytes)

    def _end_part(self) -> None:
        text = bytes(self._text)
        self._text.clear()
        match self._part:
            case "options":
                self._options, self._dataset = parse_options(text, self._find_dataset)
            case "labels":
                self._labels = parse_labels(text)
            case "webhook":
                self._webhook = parse_webhook(text)
                check_address(self._webhook, self._outbound)

    def _end(self) -> None:
        self._complete = True


def refuse_unfit(path: Path, options: EncodeOptions) -> None:
    """Raise `Problem` for a file that is no checkpoint, or in which these options represent nothing."""
    structure = structure_of(path)
    try:
        refuse_without_kernels(structure, options.represented, options.predictor_width)
    except NernError as error:
        raise Problem.of_input(error) from error


def parse_options(text: bytes, find_dataset: FindDataset) -> tuple[EncodeOptions, StoredArtifact | None]:
    """The options in a JSON text, and the uploaded data set that they name, if they name one.

    Raises `Problem` (`invalid-options`, `unknown-dataset`, `dataset-lost`).
    """
    try:
        options = EncodeOptions.model_validate_json(text)
    except ValidationError as error:
        raise Problem.of_validation("invalid-options", error) from error
    if options.dataset is None:
        return options, None
    found = find_dataset(options.dataset)
    return options.model_copy(update={"dataset": found.name}), found.stored


def _boundary(request: Request) -> bytes:
    kind, parameters = parse_options_header(request.headers.get("content-type", ""))
    if kind != b"multipart/form-data" or not parameters.get(b"boundary"):
        raise Problem(HTTPStatus.UNSUPPORTED_MEDIA_TYPE, "not-a-form", f"The body is no multipart form; {_HOW_TO}.")
    return parameters[b"boundary"]


def _malformed(what: str) -> Problem:
    return Problem(HTTPStatus.BAD_REQUEST, "malformed-form", f"{what}; {_HOW_TO}.")
