"""Checkpoints by MLflow names, from the MLflow server that the operator has configured.

MLflow's REST API returns the location of a model's artifacts, and serves them if the server was started with
`--serve-artifacts`. Artifacts at other locations are not fetched, because the user who registered the model chose the
location.
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

from app.outbound.answer import Answer, Pace
from app.outbound.client import Origin, OutboundClient
from app.outbound.errors import OutboundError
from app.outbound.interruption import Interruption
from app.settings import Settings
from nern_core.contract.errors import NernError
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


class Unavailable(Exception):
    """A model cannot be read. The message is for the client; `slug` is None if the file could not be fetched."""

    def __init__(self, sentence: str, slug: str | None = None) -> None:
        super().__init__(sentence)
        self.slug = slug


class _Location(BaseModel):
    """Location of artifacts."""

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
    """Opens checkpoints on one MLflow server."""

    def __init__(self, uri: str, token: str = "") -> None:
        parts = urlsplit(uri)
        self._host = parts.netloc.rpartition("@")[2]
        self._url = f"{parts.scheme}://{self._host}{parts.path.rstrip('/')}"
        self._headers = _authorization(parts.username, parts.password, token)
        self._client = OutboundClient(origins=[Origin.of(self._url)])

    @classmethod
    def of(cls, settings: Settings) -> Self | None:
        """Return the registry of the settings, or None."""
        if not settings.mlflow_tracking_uri:
            return None
        return cls(settings.mlflow_tracking_uri, settings.mlflow_tracking_token)

    @contextmanager
    def open(
        self,
        text: str,
        *,
        seconds: float,
        max_bytes: int,
        pace: Pace | None = None,
        interruption: Interruption | None = None,
    ) -> Iterator[Answer]:
        """Find and open a checkpoint; `seconds` limits the total time, including reading.

        Raises `Unavailable` (`invalid-reference`, `unknown-model`, `artifacts-not-served`, without a slug, or with a
        slug of `find_checkpoint`); reading raises `OutboundError`.
        """
        exchange = _Exchange(
            self._client, self._url, self._headers, time.monotonic() + seconds, pace or Pace(), interruption
        )
        try:
            reference = parse_reference(text)
            root = self._served_path(exchange.artifact_uri(reference))
            path = find_checkpoint(lambda folder: exchange.list_folder(_joined(root, folder)), reference.path)
        except NernError as error:
            raise Unavailable(error.message, error.code.replace("_", "-")) from error
        with exchange.open(f"{_ARTIFACTS}/{quote(_joined(root, path))}", max_bytes, what=text) as answer:
            yield answer

    def _served_path(self, uri: str) -> str:
        """Convert an artifact URI to a path that the server itself serves. Raises `Unavailable`."""
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
    """The requests for one checkpoint, with a common deadline."""

    def __init__(
        self,
        client: OutboundClient,
        url: str,
        headers: Mapping[str, str],
        end: float,
        pace: Pace,
        interruption: Interruption | None,
    ) -> None:
        self._client = client
        self._url = url
        self._headers = headers
        self._end = end
        self._pace = pace
        self._interruption = interruption

    def artifact_uri(self, reference: Reference) -> str:
        """Return the URI of the artifacts that a reference names."""
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
        # A version may have been registered with the name of its run's artifact, or of a logged model.
        source = parse_reference(uri)
        if isinstance(source, RunReference | LoggedModelReference):
            return _joined(self.artifact_uri(source), source.path)
        raise self._unavailable(uri, "a version that refers to another version")

    def _newest_version(self, reference: StageReference) -> str:
        query = {"name": reference.name, "stages": reference.stages}
        found = self._ask(f"{_API}/registered-models/get-latest-versions", query, _Versions, what=reference)
        if not found.model_versions:
            raise _unknown(reference)
        return str(max(int(version.version) for version in found.model_versions))

    def list_folder(self, path: str) -> Sequence[Entry]:
        """List a folder of the served artifacts."""
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
        """Send a request. Raises `Unavailable` for every answer but 200."""
        seconds = self._end - time.monotonic()
        if seconds <= 0:
            raise self._unavailable(target, "timeout")
        sending = self._client.send(
            "GET",
            self._url + target,
            headers=self._headers,
            seconds=seconds,
            max_bytes=max_bytes,
            pace=self._pace,
            interruption=self._interruption,
        )
        with ExitStack() as stack:
            try:
                answer = stack.enter_context(sending)
            except OutboundError as error:
                raise self._unavailable(target, repr(error)) from error
            if answer.status in _UNKNOWN:
                raise _unknown(what)
            if answer.status in _NOT_ALLOWED:
                raise Unavailable(
                    "This service has no permission to read this from its MLflow server; ask its operator."
                )
            if answer.status != HTTPStatus.OK:
                raise self._unavailable(target, f"status {answer.status}")
            yield answer

    def _unavailable(self, target: str, error: str) -> Unavailable:
        # Only the log gets the details, because the server's address concerns only its operator.
        _log.warning("mlflow_unavailable", target=target, error=error)
        return Unavailable("The MLflow server of this service does not answer correctly; try again later.")


def _unknown(what: object) -> Unavailable:
    return Unavailable(
        f"the MLflow server of this service does not know {what}; check its name there.", "unknown-model"
    )


def no_registry() -> Unavailable:
    """Return the error for an MLflow name if no MLflow server is configured."""
    return Unavailable(
        "this service has no MLflow server; its operator can set NERN_MLFLOW_TRACKING_URI, or you can send the "
        "checkpoint with `nern mlflow encode`.",
        "no-mlflow-server",
    )


def _not_served(scheme: str) -> Unavailable:
    return Unavailable(
        f"these artifacts are stored at {scheme[:16] or 'file'}:, which the MLflow server does not serve; start it "
        "with --serve-artifacts, or send the checkpoint with `nern mlflow encode`.",
        "artifacts-not-served",
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
