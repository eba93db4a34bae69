"""Storage of uploads and results: a local folder, or a bucket of an S3-compatible store.

Other packages use only the protocol `ArtifactStore`; the settings choose the implementation.
"""

from importlib.util import find_spec

from app.settings import Settings
from app.storage.artifacts import (
    ArtifactDamaged,
    ArtifactMissing,
    StoredArtifact,
    StoreUnavailable,
    copy_hashed,
)
from app.storage.folder import FolderStore
from app.storage.store import ArtifactStore
from app.storage.writer import ArtifactWriter
from nern_core.contract.errors import NernError

__all__ = [
    "ArtifactDamaged",
    "ArtifactMissing",
    "ArtifactStore",
    "ArtifactWriter",
    "StoreUnavailable",
    "StoredArtifact",
    "check_storage",
    "copy_hashed",
    "open_store",
]


def check_storage(settings: Settings) -> None:
    """Check the storage settings before anything starts. Raises `NernError` (`storage_settings`)."""
    if not settings.artifact_store:
        return
    if find_spec("obstore") is None:
        raise NernError(
            "storage_settings", "NERN_ARTIFACT_STORE names a bucket, which needs obstore: install nern[s3]."
        )
    from app.storage.s3.location import Location

    Location.of(settings)


def open_store(settings: Settings) -> ArtifactStore:
    """Create the store of the settings, without connecting. Raises `NernError` (`storage_settings`)."""
    check_storage(settings)
    if not settings.artifact_store:
        return FolderStore(settings.artifacts)
    from app.storage.s3.bucket import Bucket
    from app.storage.s3.location import Location
    from app.storage.s3.store import S3Store

    location = Location.of(settings)
    return S3Store(Bucket(location), location, settings.artifacts, settings.redirect_lifetime)
