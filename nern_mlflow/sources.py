"""Find and download the checkpoint of a registered model or a run, without running code from it."""

import json
import posixpath
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias

from mlflow import MlflowClient
from mlflow.store.artifact.artifact_repo import ArtifactRepository
from mlflow.store.artifact.artifact_repository_registry import get_artifact_repository

from nern_core.contract.errors import NernError
from nern_core.formats.checkpoint_structure import open_checkpoint, refuse_unreadable
from nern_mlflow.checkpoint_files import HOW_TO_LOG, Entry, find_checkpoint
from nern_mlflow.references import (
    AliasReference,
    LoggedModelReference,
    RunReference,
    StageReference,
    VersionReference,
    parse_reference,
)
from nern_mlflow.versions import newest_version

_VERSIONS = "mlflow.modelVersions"
Origin: TypeAlias = VersionReference | LoggedModelReference | RunReference


@dataclass(frozen=True, slots=True, kw_only=True)
class Source:
    """Origin of a checkpoint: the given reference, the run that created it, and the file among the artifacts.

    `registered_model` is the name of the registered model, if the checkpoint is a version of exactly one;
    `experiment_id` is the experiment of a logged model, which has one even without a run.
    """

    origin: Origin
    registered_model: str | None
    run_id: str | None
    experiment_id: str | None
    repository: ArtifactRepository
    file: str

    def download(self, folder: Path) -> Path:
        """Download the checkpoint. Raises `NernError` as `refuse_unreadable` if the file is not a checkpoint."""
        path = Path(self.repository.download_artifacts(self.file, str(folder)))
        try:
            with open_checkpoint(path) as file:
                refuse_unreadable(file)
        except NernError as error:
            advice = f" {HOW_TO_LOG}." if error.code == "executable_checkpoint" else ""
            raise NernError(error.code, f"{self.file}: {error.message}{advice}") from error
        return path


def find_source(tracking: MlflowClient, text: str) -> Source:
    """Find the checkpoint for a reference. Raises `NernError` as `parse_reference` and `find_checkpoint`."""
    reference = parse_reference(text)
    if isinstance(reference, AliasReference):
        version = tracking.get_model_version_by_alias(reference.name, reference.alias)
        reference = reference.of_version(str(version.version))
    if isinstance(reference, StageReference):
        reference = reference.of_version(newest_version(tracking, reference))
    run_id: str | None
    model: str | None
    experiment_id: str | None = None
    match reference:
        case RunReference(run_id=run_id):
            uri, model = f"runs:/{run_id}", None
        case LoggedModelReference():
            logged = tracking.get_logged_model(reference.model_id)
            uri, run_id = logged.artifact_location, logged.source_run_id or None
            model, experiment_id = _registered_name(logged.tags), logged.experiment_id
        case VersionReference():
            model = reference.name
            run_id = tracking.get_model_version(model, reference.version).run_id or None
            uri = tracking.get_model_version_download_uri(model, reference.version)
    repository = get_artifact_repository(uri)

    def list_folder(path: str) -> list[Entry]:
        found = repository.list_artifacts(path or None)
        return [Entry(posixpath.basename(file.path), file.is_dir) for file in found]

    return Source(
        origin=reference,
        registered_model=model,
        run_id=run_id,
        experiment_id=experiment_id,
        repository=repository,
        file=find_checkpoint(list_folder, reference.path),
    )


def _registered_name(tags: Mapping[str, str]) -> str | None:
    """Return the registered model in the tags of a logged model, if there is exactly one."""
    try:
        names = {version["name"] for version in json.loads(tags.get(_VERSIONS, "[]"))}
    except (ValueError, TypeError, KeyError):
        return None
    return str(*names) if len(names) == 1 else None
