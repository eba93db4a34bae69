"""Checkpoints that jobs name as MLflow does, from the one MLflow server that the operator has set up.

MLflow's REST API says where the artifacts of a model are, and hands them out where the server was started with
`--serve-artifacts`. Nothing is fetched from anywhere else: that place is told by whoever has registered the model.
"""

import base64
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from http import HTTPStatus
from typing import Annotated, Self, TypeVar
from urllib.parse import quote, unquote, urlencode, urlsplit

import structlog
from pydantic import BaseModel, Field, ValidationError

from app.outbound.client import Answer, Origin, OutboundClient
from app.outbound.errors import OutboundError
from app.problems import Problem
from app.settings import Settings
from nern_core.errors import NernError
from nern_mlflow.checkpoint_files import Entry, find_checkpoint
from nern_mlflow.references import (
    AliasReference,
    LoggedModelReference,
    Reference,
    RunReference,
    StageReference,
    VersionReference,
    is_reference,
    parse_reference,
)

_API = "/api/2.0/mlflow"
_ARTIFACTS = "/api/2.0/mlflow-artifacts/artifacts"
_LARGEST_DOCUMENT = 2**20
_UNKNOWN = frozenset({HTTPStatus.BAD_REQUEST, HTTPStatus.NOT_FOUND})
_NOT_ALLOWED = frozenset({HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN})
_log = structlog.get_logger()


class _Location(BaseModel):
    """What tells where artifacts are."""

    artifact_uri: str


class _Version(BaseModel):
    version: Annotated[str, Field(pattern=r"^[1-9][0-9]{0,17}$")]


class _Alias(BaseModel):
    model_version: _Version


class _Versions(BaseModel):
    model_versions: tuple[_Version, ...] = ()


class _LoggedModel(BaseModel):
    model: "_Run"


class _Run(BaseModel):
    info: _Location


class _RunDocument(BaseModel):
    run: _Run


class _File(BaseModel):
    path: str
    is_dir: bool = False


class _Listing(BaseModel):
    files: tuple[_File, ...] = ()


Document = TypeVar("Document", bound=BaseModel)


class ModelRegistry:
    """Opens checkpoints of one MLflow server."""

    def __init__(self, uri: str, token: str = "") -> None:
        parts = urlsplit(uri)
        self._host = parts.netloc.rpartition("@")[2]
        self._url = f"{parts.scheme}://{self._host}{parts.path.rstrip('/')}"
        self._headers = _authorization(parts.username, parts.password, token)
        self._client = OutboundClient(origins=[Origin.of(self._url)])

    @classmethod
    def of(cls, settings: Settings) -> Self | None:
        """The server of these settings, if there is one."""
        if not settings.mlflow_tracking_uri:
            return None
        return cls(settings.mlflow_tracking_uri, settings.mlflow_tracking_token)

    @contextmanager
    def open(self, text: str, *, seconds: float, max_bytes: int) -> Iterator[Answer]:
        """Find and open a checkpoint; all of it, with reading, may take so many seconds.

        Raises `Problem` (`invalid-reference`, `unknown-model`, `artifacts-not-served`, `checkpoint-unreachable`, and
        those of `find_checkpoint`); reading raises `OutboundError`.
        """
        exchange = _Exchange(self._client, self._url, self._headers, time.monotonic() + seconds)
        try:
            reference = parse_reference(text)
            root = self._served_path(exchange.artifact_uri(reference))
            path = find_checkpoint(lambda folder: exchange.list_folder(_joined(root, folder)), reference.path)
        except NernError as error:
            raise Problem.of_input(error) from error
        with exchange.open(f"{_ARTIFACTS}/{quote(_joined(root, path))}", max_bytes, what=text) as answer:
            yield answer

    def _served_path(self, uri: str) -> str:
        """Where the server itself hands out what is at an address of artifacts. Raises `Problem`."""
        parts = urlsplit(uri)
        own = f"{self._url}{_ARTIFACTS}/"
        if parts.scheme == "mlflow-artifacts" and parts.netloc in {"", self._host}:
            path = parts.path
        elif uri.startswith(own):
            path = uri.removeprefix(own)
        else:
            raise _not_served(parts.scheme)
        path = path.strip("/")
        if any(part in {"", ".", ".."} for part in path.split("/")):
            raise _not_served(parts.scheme)
        return path


class _Exchange:
    """The requests for one checkpoint, which share their time."""

    def __init__(self, client: OutboundClient, url: str, headers: Mapping[str, str], end: float) -> None:
        self._client = client
        self._url = url
        self._headers = headers
        self._end = end

    def artifact_uri(self, reference: Reference) -> str:
        """Where MLflow has the artifacts that a reference names."""
        if isinstance(reference, AliasReference):
            query = {"name": reference.name, "alias": reference.alias}
            found = self._ask(f"{_API}/registered-models/alias", query, _Alias, what=reference)
            reference = reference.of_version(found.model_version.version)
        if isinstance(reference, StageReference):
            reference = reference.of_version(self._newest_version(reference))
        match reference:
            case RunReference():
                query = {"run_id": reference.run_id}
                return self._ask(f"{_API}/runs/get", query, _RunDocument, what=reference).run.info.artifact_uri
            case LoggedModelReference():
                path = f"{_API}/logged-models/{reference.model_id}"
                return self._ask(path, {}, _LoggedModel, what=reference).model.info.artifact_uri
            case VersionReference():
                query = {"name": reference.name, "version": reference.version}
                path = f"{_API}/model-versions/get-download-uri"
                uri = self._ask(path, query, _Location, what=reference).artifact_uri
        if not is_reference(uri):
            return uri
        # A version may have been registered under the name of its run's artifact, or of a logged model.
        source = parse_reference(uri)
        if isinstance(source, RunReference | LoggedModelReference):
            return _joined(self.artifact_uri(source), source.path)
        raise self._unavailable(uri, "a version that is another version")

    def _newest_version(self, reference: StageReference) -> str:
        query = {"name": reference.name, "stages": reference.stages}
        found = self._ask(f"{_API}/registered-models/get-latest-versions", query, _Versions, what=reference)
        if not found.model_versions:
            raise _unknown(reference)
        return str(max(int(version.version) for version in found.model_versions))

    def list_folder(self, path: str) -> Sequence[Entry]:
        """What a folder of the served artifacts holds."""
        listing = self._ask(_ARTIFACTS, {"path": path}, _Listing, what=path)
        entries = [Entry(file.path, file.is_dir) for file in listing.files]
        return [entry for entry in entries if "/" not in entry.name and entry.name not in {"", ".", ".."}]

    def _ask(
        self, path: str, query: Mapping[str, str | Sequence[str]], model: type[Document], *, what: object
    ) -> Document:
        with self.open(f"{path}?{urlencode(query, doseq=True)}", _LARGEST_DOCUMENT, what=what) as answer:
            try:
                return model.model_validate_json(b"".join(answer.chunks()))
            except (OutboundError, ValidationError) as error:
                raise self._unavailable(path, repr(error)) from error

    @contextmanager
    def open(self, target: str, max_bytes: int, *, what: object) -> Iterator[Answer]:
        """Send a request. Raises `Problem` for every answer but that which was asked for."""
        seconds = self._end - time.monotonic()
        if seconds <= 0:
            raise self._unavailable(target, "the time is over")
        sending = self._client.send(
            "GET", self._url + target, headers=self._headers, seconds=seconds, max_bytes=max_bytes
        )
        with ExitStack() as stack:
            try:
                answer = stack.enter_context(sending)
            except OutboundError as error:
                raise self._unavailable(target, repr(error)) from error
            if answer.status in _UNKNOWN:
                raise _unknown(what)
            if answer.status in _NOT_ALLOWED:
                raise unreachable("This service may not read that from its MLflow server; ask its operator.")
            if answer.status != HTTPStatus.OK:
                raise self._unavailable(target, f"status {answer.status}")
            yield answer

    def _unavailable(self, target: str, error: str) -> Problem:
        # Where the server is concerns its operator alone.
        _log.warning("mlflow_unavailable", target=target, error=error)
        return unreachable("The MLflow server of this service does not answer as it should; try again later.")


def _unknown(what: object) -> Problem:
    return Problem(
        HTTPStatus.UNPROCESSABLE_ENTITY,
        "unknown-model",
        f"checkpoint.url: the MLflow server of this service does not know {what}; look at its name there.",
    )


def no_registry() -> Problem:
    """The problem for a name of MLflow's where no MLflow server is set up."""
    return Problem(
        HTTPStatus.UNPROCESSABLE_ENTITY,
        "no-mlflow-server",
        "checkpoint.url: this service knows no MLflow server; its operator sets one up with NERN_MLFLOW_TRACKING_URI, "
        "or `nern mlflow encode` sends the checkpoint.",
    )


def unreachable(sentence: str, kind: str = "checkpoint") -> Problem:
    """The problem for a file that could not be fetched."""
    return Problem(HTTPStatus.UNPROCESSABLE_ENTITY, f"{kind}-unreachable", f"{kind}.url: {sentence}")


def _not_served(scheme: str) -> Problem:
    return Problem(
        HTTPStatus.UNPROCESSABLE_ENTITY,
        "artifacts-not-served",
        f"checkpoint.url: these artifacts are kept at {scheme[:16] or 'file'}:, which the MLflow server does not hand "
        "out; start it with --serve-artifacts, or let `nern mlflow encode` send the checkpoint.",
    )


def _authorization(user: str | None, password: str | None, token: str) -> Mapping[str, str]:
    if token:
        return {"Authorization": f"Bearer {token}"}
    if user is None:
        return {}
    pair = f"{unquote(user)}:{unquote(password or '')}".encode()
    return {"Authorization": f"Basic {base64.b64encode(pair).decode()}"}


def _joined(root: str, path: str) -> str:
    return "/".join(filter(None, (root, path)))
