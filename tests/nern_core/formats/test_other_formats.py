import os
import zipfile
from pathlib import Path

import pytest

from nern_core.contract.errors import NernError
from nern_core.formats.checkpoint_structure import read_structure
from nern_core.tensors.checkpoint import read_checkpoint
from tests.conftest import ROOT

# First bytes of each format, and the expected message.
FILES = {
    "lfs": (
        b"version https://git-lfs.github.com/spec/v1\noid sha256:4d7a2146\n",
        "is a pointer of Git LFS, .*; run `git lfs pull`",
    ),
    "html": (
        b"\xef\xbb\xbf\n<!DOCTYPE html><title>Sign in</title>",
        "is a web page; .*; download the checkpoint",
    ),
    "xml": (b'<?xml version="1.0"?><Error><Code>AccessDenied</Code></Error>', "is a web page"),
    "gguf": (b"GGUF\x03\x00\x00\x00" + bytes(64), "is a GGUF file"),
    "hdf5": (b"\x89HDF\r\n\x1a\n" + bytes(64), "is an HDF5 file, probably from Keras; load it in Keras"),
    "gzip": (b"\x1f\x8b\x08" + bytes(64), "is compressed by gzip; unpack it"),
    "7z": (b"7z\xbc\xaf\x27\x1c" + bytes(64), "is a compressed archive; unpack it"),
    "xz": (b"\xfd7zXZ\x00" + bytes(64), "is a compressed archive; unpack it"),
    "tflite": (b"\x1c\x00\x00\x00TFL3" + bytes(64), "is a TensorFlow Lite model, "),
    "ggml": (b"tjgg" + bytes(64), "is a GGML file, whose weights are already quantized"),
    "npy": (b"\x93NUMPY\x01\x00" + bytes(64), "is a single numpy array"),
    "index": (b'{"metadata": {"total_size": 1}, "weight_map": {}}', "is a JSON text, .* index of a checkpoint"),
    "pickle": (b"\x80\x04\x95\x05\x00\x00\x00\x00\x00\x00\x00]\x94.", "is a plain pickle"),
}


@pytest.mark.parametrize("name", FILES)
def test_a_file_of_another_format_is_told_by_its_name_with_what_to_do(tmp_path: Path, name: str) -> None:
    content, sentence = FILES[name]
    path = tmp_path / "model.pt"
    path.write_bytes(content)
    for read in (read_structure, read_checkpoint):
        with pytest.raises(NernError, match=f"^The file {sentence}") as error:
            read(path)
        assert error.value.code == "not_a_checkpoint"
        assert error.value.message.endswith(".")


def test_a_pipe_is_told_and_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.pt")
    with pytest.raises(NernError, match="'pipe.pt' is a pipe or a device; write its content to a file"):
        read_checkpoint(tmp_path / "pipe.pt")


@pytest.mark.parametrize(
    ("name", "sentence"),
    [
        ("a.npy", "is an archive of numpy arrays; save them by name with safetensors.numpy.save_file"),
        ("model.weights.h5", "is a Keras model; load it in Keras"),
        ("notes.txt", "is a zip archive, but not from torch.save"),
    ],
)
def test_a_zip_archive_of_another_kind_is_told(tmp_path: Path, name: str, sentence: str) -> None:
    with zipfile.ZipFile(tmp_path / "model.zip", "w") as archive:
        archive.writestr(name, "content")
    for read in (read_structure, read_checkpoint):
        with pytest.raises(NernError, match=f"^The file {sentence}") as error:
            read(tmp_path / "model.zip")
        assert error.value.code == "not_a_checkpoint"


def test_a_folder_is_told_with_the_file_to_name(tmp_path: Path) -> None:
    with pytest.raises(NernError, match=r"holds no model.safetensors .*; name the file that holds the weights"):
        read_checkpoint(tmp_path)


def test_an_encoding_in_place_of_a_checkpoint_is_told_with_what_to_do() -> None:
    for read in (read_structure, read_checkpoint):
        with pytest.raises(NernError) as error:
            read(ROOT / "tests" / "golden" / "quantized-v5.nern")
        assert error.value.code == "already_encoded"
        assert error.value.message == (
            "This is a .nern file already, not a checkpoint; "
            "`nern reconstruct` (POST /reconstructions) makes weights of it."
        )
