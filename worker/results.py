"""Check the results of a runner and put them into the store."""

import stat
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from app.jobs.kinds import JobKind
from app.storage import ArtifactMissing, ArtifactStore, StoredArtifact, StoreUnavailable
from nern_core.contract.progress import Phase
from worker.folder import RunFolder
from worker.protocol import read_metrics

# Slack for reports with pictures, which the expected size does not include.
_MORE_THAN_EXPECTED = 64 * 2**20


class UnusableResults(Exception):
    """A runner exited with status 0, but its results are missing or invalid."""


@dataclass(frozen=True, slots=True)
class Results:
    """Names of the files to publish, their total size in bytes, and the metrics for an encoding."""

    names: Sequence[str]
    size: int
    metrics: Mapping[str, Any] | None

    def fit(self, expected_bytes: int) -> bool:
        """Return true if the results fit into the reserved bytes plus some slack; 0 means no limit."""
        return not expected_bytes or self.size <= expected_bytes + _MORE_THAN_EXPECTED


def read_results(folder: RunFolder, kind: JobKind) -> Results:
    """Check the results of an ended runner. Raises `UnusableResults`, and `OSError` for faults of the disk."""
    encodes = kind is JobKind.ENCODING
    names = folder.result_names(encodes=encodes)
    try:
        # A link would publish another file of the worker as a result.
        found = {name: folder.result(name).lstat() for name in names}
        irregular = [name for name in names if not stat.S_ISREG(found[name].st_mode)]
        if irregular:
            raise UnusableResults(f"{irregular[0]} is not a regular file")
        size = sum(status.st_size for status in found.values())
        return Results(names, size, read_metrics(folder.report) if encodes else None)
    except (ValueError, FileNotFoundError, NotADirectoryError, PermissionError) as error:
        raise UnusableResults(str(error)) from error


def with_publication(metrics: Mapping[str, Any] | None, seconds: float) -> Mapping[str, Any] | None:
    """Add the seconds of the publication to the metrics of an encoding and to their total."""
    if metrics is None:
        return None
    phases = metrics["seconds"]
    total = phases.get("total", 0.0) + seconds
    added = {Phase.PUBLICATION.value: round(seconds, 3), "total": round(total, 3)}
    return {**metrics, "seconds": phases | added}


def publish(store: ArtifactStore, folder: RunFolder, names: Sequence[str]) -> Mapping[str, StoredArtifact]:
    """Store the results. All of them stay stored until the row can name them. Raises `OSError`."""
    artifacts = {name: store.put(folder.result(name)) for name in names}
    # Storing the last one may take longer than the store keeps the first one without a row that names it.
    try:
        for artifact in artifacts.values():
            store.renew(artifact.sha256)
    except ArtifactMissing as error:
        raise StoreUnavailable("a result was removed before all of them were stored") from error
    return artifacts
