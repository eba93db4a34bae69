"""The formats of checkpoints, told by the first bytes of a file. Torch-free."""

from enum import StrEnum
from typing import Final

_ZIP_MAGIC = b"PK\x03\x04"
# torch files before version 1.6 start with a pickle of the number 0x1950a86a20f9469cfc6c.
_PICKLE_MAGIC = b"\x80"
_LEGACY_MAGIC = b"\x6c\xfc\x9c\x46\xf9\x20\x6a\xa8\x50\x19"
_LEGACY_MAGIC_WITHIN = 32
# The same of protocols 0 and 1.
_LEGACY_MAGIC_IN_DIGITS = b"L119547037146038801333356L\n."
# Bytes of the beginning of a file that tell its format.
HEAD_BYTES: Final = 512


class CheckpointFormat(StrEnum):
    """The file formats that a checkpoint may have."""

    SAFETENSORS = "safetensors"
    TORCH_ZIP = "torch"
    TORCH_LEGACY = "torch-legacy"
    HUB_FOLDER = "hub-folder"


def format_of(head: bytes) -> CheckpointFormat | None:
    """Tell the format of a file from its first bytes; None if it is no checkpoint."""
    if head.startswith(_ZIP_MAGIC):
        return CheckpointFormat.TORCH_ZIP
    if _is_legacy(head):
        return CheckpointFormat.TORCH_LEGACY
    return CheckpointFormat.SAFETENSORS if head[8:9] == b"{" else None


def _is_legacy(head: bytes) -> bool:
    binary = head.startswith(_PICKLE_MAGIC) and _LEGACY_MAGIC in head[:_LEGACY_MAGIC_WITHIN]
    return binary or head.startswith(_LEGACY_MAGIC_IN_DIGITS)
