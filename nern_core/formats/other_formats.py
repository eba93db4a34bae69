"""Recognize files that people mistake for checkpoints by their first bytes, and say what to do. Torch-free."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from nern_core.contract.errors import NernError

_TAR_MAGIC_AT = 257
_ORIGINAL = "use the original safetensors or torch checkpoint that it was made from"
_SAVE = "save the network's state_dict() with safetensors or torch.save and use that"


@dataclass(frozen=True, slots=True)
class _OtherFormat:
    """A format: a test of a file's first bytes, its description and the advice in the error message."""

    code: str
    begins: Callable[[bytes], bool]
    what: str
    how_to: str


def _starts(*magic: bytes) -> Callable[[bytes], bool]:
    return lambda head: head.startswith(magic)


def _is_html(head: bytes) -> bool:
    text = head.removeprefix(b"\xef\xbb\xbf").lstrip().lower()
    return text.startswith((b"<!doctype html", b"<html", b"<head", b"<?xml", b"<body"))


_FORMATS: Final = (
    _OtherFormat(
        "not_a_checkpoint",
        _starts(b"version https://git-lfs.github.com/spec/"),
        "is a pointer of Git LFS, not the checkpoint itself",
        "run `git lfs pull` in its repository, or download the file from there, and use that",
    ),
    _OtherFormat(
        "not_a_checkpoint",
        _is_html,
        "is a web page; the download probably needed a sign-in or another address",
        "download the checkpoint itself and use that",
    ),
    _OtherFormat(
        "not_a_checkpoint", _starts(b"GGUF"), "is a GGUF file, whose weights are already quantized", _ORIGINAL
    ),
    _OtherFormat(
        "not_a_checkpoint",
        _starts(b"tjgg", b"lmgg", b"fmgg"),
        "is a GGML file, whose weights are already quantized",
        _ORIGINAL,
    ),
    _OtherFormat(
        "not_a_checkpoint",
        lambda head: head[4:8] == b"TFL3",
        "is a TensorFlow Lite model, which is a program with its weights",
        "save the original network's weights by name with safetensors.numpy.save_file, and use that",
    ),
    _OtherFormat(
        "not_a_checkpoint",
        _starts(b"7z\xbc\xaf\x27\x1c", b"\xfd7zXZ\x00", b"BZh", b"Rar!"),
        "is a compressed archive",
        "unpack it and use its content",
    ),
    _OtherFormat(
        "not_a_checkpoint",
        _starts(b"\x89HDF\r\n\x1a\n"),
        "is an HDF5 file, probably from Keras",
        "load it in Keras, save its weights by name with safetensors.numpy.save_file, and use that",
    ),
    _OtherFormat(
        "unsupported_format",
        lambda head: head[_TAR_MAGIC_AT:].startswith(b"ustar"),
        "is a tar archive, perhaps from torch before version 0.1.10",
        "save the network's state_dict() with a newer torch or with safetensors and use that",
    ),
    _OtherFormat("not_a_checkpoint", _starts(b"\x1f\x8b"), "is compressed by gzip", "unpack it and send its content"),
    _OtherFormat("not_a_checkpoint", _starts(b"\x28\xb5\x2f\xfd"), "is compressed by zstd", "unpack it and use that"),
    _OtherFormat(
        "not_a_checkpoint",
        _starts(b"\x93NUMPY"),
        "is a single numpy array without a name",
        "save all tensors by name with safetensors.numpy.save_file and use that",
    ),
    _OtherFormat(
        "not_a_checkpoint",
        lambda head: head.lstrip().startswith(b"{"),
        "is a JSON text, such as a configuration or the index of a checkpoint in several files",
        "give the folder with the files that contain the tensors",
    ),
    _OtherFormat(
        "not_a_checkpoint",
        _starts(b"\x80"),
        "is a plain pickle, not a file of torch.save",
        _SAVE,
    ),
)


def other_format(head: bytes) -> NernError | None:
    """Return the error for a file of another known format; None if no format is recognized."""
    found = next((one for one in _FORMATS if one.begins(head)), None)
    return None if found is None else NernError(found.code, f"The file {found.what}; {found.how_to}.")
