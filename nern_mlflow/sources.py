"""The checkpoint of a registered model or of a run: found, and brought here, without running anything in it."""

import posixpath
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias

from mlflow import MlflowClient
from mlflow.store.artifact.artifact_repo import ArtifactRepository
from mlflow.store.artifact.artifact_repository_registry import get_artifact_repository

from nern_core.checkpoint_structure import read_structure
from nern_core.errors import NernError
from nern_mlflow.checkpoint_files import HOW_TO_LOG, Entry, find_checkpoint
from nern_mlflow.references import AliasReference, RunReference, VersionReference, parse_reference

Origin: TypeAlias = VersionReference | RunReference


@dataclass(frozen=True, slots=True, kw_only=True)
class Source:
    """Where a checkpoint comes from: what was named, the run that has made it, and the file among its artifacts."""

    origin: Origin
    run_id: str | None
    repository: ArtifactRepository
    file: str

    def download(self, folder: Path) -> Path:
        """Bring the checkpoint here. Raises `NernError` as `read_structure` does for what is none."""
        path = Path(self.repository.download_artifacts(self.file, str(folder)))
        try:
            read_structure(path)
        except NernError as error:
            advice = f" {HOW_TO_LOG}." if error.code == "executable_checkpoint" else ""
            raise NernError(error.code, f"{self.file}: {error.message}{advice}") from error
        return path


def find_source(tracking: MlflowClient, text: str) -> Source:
    """Find the checkpoint that is named. Raises `NernError` as `parse_reference` and `find_checkpoint` do."""
    reference = parse_reference(text)
    if isinstance(reference, AliasReference):
        version = tracking.get_model_version_by_alias(reference.name, reference.alias)
        reference = reference.of_version(str(version.version))
    if isinstance(reference, RunReference):
        run_id: str | None = reference.run_id
        uri = f"runs:/{reference.run_id}"
    else:
        run_id = tracking.get_model_version(reference.name, reference.version).run_id or None
        uri = tracking.get_model_version_download_uri(reference.name, reference.version)
    repository = get_artifact_repository(uri)

    def list_folder(path: str) -> list[Entry]:
        found = repository.list_artifacts(path or None)
        return [Entry(posixpath.basename(file.path), file.is_dir) for file in found]

    return Source(
        origin=reference, run_id=run_id, repository=repository, file=find_checkpoint(list_folder, reference.path)
    )
