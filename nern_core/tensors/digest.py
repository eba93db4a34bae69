"""The digest that identifies files. Torch-free."""

import hashlib
from dataclasses import dataclass
from pathlib import Path

from nern_core.formats.hub_folder import folder_of, hub_folder_at


@dataclass(frozen=True, slots=True)
class CheckpointDigest:
    """The SHA-256 of a checkpoint in hexadecimal digits, and the bytes of all its files with tensors."""

    sha256: str
    bytes: int


def file_sha256(path: Path) -> str:
    """Return the SHA-256 of a file, in hexadecimal digits."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def digest_checkpoint(path: Path) -> CheckpointDigest:
    """Return the digest of a file, or of the weights in a folder of the hub, which may be in several files.

    That of a single file is its SHA-256. That of several is the SHA-256 of the lines that `sha256sum` prints for them,
    in the order of their names: two spaces between digest and name.
    """
    folder = hub_folder_at(path)
    if folder is None:
        return CheckpointDigest(file_sha256(path), path.stat().st_size)
    files = [folder_of(path) / shard for shard in folder.shards]
    digests = [file_sha256(file) for file in files]
    size = sum(file.stat().st_size for file in files)
    if len(files) == 1:
        return CheckpointDigest(digests[0], size)
    lines = "".join(f"{digest}  {file.name}\n" for digest, file in zip(digests, files, strict=True))
    return CheckpointDigest(hashlib.sha256(lines.encode()).hexdigest(), size)
