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
# Protocol buffers have no magic. The first field of ONNX files is the version of the format; the second one is the
# producer's name or version, a domain, a version, a text, the graph, the operators' version or metadata.
_ONNX_VERSION, _ONNX_VERSIONS = 0x08, range(1, 33)
_ONNX_SECOND_FIELDS = b"\x12\x1a\x22\x28\x32\x3a\x42\x72"
# Bytes of the beginning of a file that tell its format.
HEAD_BYTES: Final = 512


class CheckpointFormat(StrEnum):
    """The file formats that a checkpoint may have."""

    SAFETENSORS = "safetensors"
    TORCH_ZIP = "torch"
    TORCH_LEGACY = "torch-legacy"
    HUB_FOLDER = "hub-folder"
    ONNX = "onnx"


def format_of(head: bytes) -> CheckpointFormat | None:
    """Tell the format of a file from its first bytes; None if it is no checkpoint."""
    if head.startswith(_ZIP_MAGIC):
        return CheckpointFormat.TORCH_ZIP
    if _is_legacy(head):
        return CheckpointFormat.TORCH_LEGACY
    if head[8:9] == b"{":
        return CheckpointFormat.SAFETENSORS
    return CheckpointFormat.ONNX if _is_onnx(head) else None


def _is_onnx(head: bytes) -> bool:
    return len(head) > 3 and head[0] == _ONNX_VERSION and head[1] in _ONNX_VERSIONS and head[2] in _ONNX_SECOND_FIELDS


def _is_legacy(head: bytes) -> bool:
    binary = head.startswith(_PICKLE_MAGIC) and _LEGACY_MAGIC in head[:_LEGACY_MAGIC_WITHIN]
    return binary or head.startswith(_LEGACY_MAGIC_IN_DIGITS)
