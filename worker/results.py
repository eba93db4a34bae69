"""The results that a runner leaves: checked, and put into the store."""

import stat
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from app.jobs.kinds import JobKind
from app.storage import ArtifactMissing, ArtifactStore, StoredArtifact, StoreUnavailable
from nern_core.progress import Phase
from worker.folder import RECONSTRUCTED, RunFolder
from worker.protocol import read_metrics

# Reports with pictures, which the expectation does not know.
_MORE_THAN_EXPECTED = 64 * 2**20


class UnusableResults(Exception):
    """A runner has ended well, but has not left what it should have."""


@dataclass(frozen=True, slots=True)
class Results:
    """Names of the files to publish, their bytes together, and the metrics of an encoding."""

    names: Sequence[str]
    size: int
    metrics: Mapping[str, Any] | None

    def fit(self, expected_bytes: int) -> bool:
        """Tell whether they take no more than was reserved for them, with some slack; 0 means no limit."""
        return not expected_bytes or self.size <= expected_bytes + _MORE_THAN_EXPECTED


def read_results(folder: RunFolder, kind: JobKind) -> Results:
    """Look at what a runner that is gone has left. Raises `UnusableResults`, and `OSError` for faults of the disk."""
    encodes = kind is JobKind.ENCODING
    names = folder.result_names() if encodes else RECONSTRUCTED
    try:
        # A link would make something else of the worker's files a result.
        found = {name: folder.result(name).lstat() for name in names}
        irregular = [name for name in names if not stat.S_ISREG(found[name].st_mode)]
        if irregular:
            raise UnusableResults(f"{irregular[0]} is no ordinary file")
        size = sum(status.st_size for status in found.values())
        return Results(names, size, read_metrics(folder.report) if encodes else None)
    except (ValueError, FileNotFoundError, NotADirectoryError, PermissionError) as error:
        raise UnusableResults(str(error)) from error


def with_publication(metrics: Mapping[str, Any] | None, seconds: float) -> Mapping[str, Any] | None:
    """Add the seconds of the publication to the metrics of an encoding, and to their total."""
    if metrics is None:
        return None
    phases = metrics["seconds"]
    total = phases.get("total", 0.0) + seconds
    added = {Phase.PUBLICATION.value: round(seconds, 3), "total": round(total, 3)}
    return {**metrics, "seconds": phases | added}


def publish(store: ArtifactStore, folder: RunFolder, names: Sequence[str]) -> Mapping[str, StoredArtifact]:
    """Store the results. All of them are there to stay until the row can name them. Raises `OSError`."""
    artifacts = {name: store.put(folder.result(name)) for name in names}
    # The last may have kept the first waiting for longer than what nobody names is kept.
    try:
        for artifact in artifacts.values():
            store.renew(artifact.sha256)
    except ArtifactMissing as error:
        raise StoreUnavailable("a result was removed before all of them were stored") from error
    return artifacts
