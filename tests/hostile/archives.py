"""Archives that two readers interpret differently, and files of other formats."""

import gzip
import io
import struct
import tarfile
import zipfile
from collections.abc import Iterator
from pathlib import Path

from tests.hostile.forge import (
    PROTOCOL,
    STOP,
    VALUES,
    WEIGHTS,
    HostileFile,
    archive,
    called,
    legacy,
    state,
    storage,
    tensor,
    text,
    zipped,
)

EXECUTABLE, UNREADABLE, UNSUPPORTED = "executable_checkpoint", "unreadable_checkpoint", "unsupported_format"
OTHER = "not_a_checkpoint"
_CENTRAL, _LOCAL, _END = b"PK\x01\x02", b"PK\x03\x04", b"PK\x05\x06"


def _patched(data: bytes, magic: bytes, offset: int, value: bytes, *, nth: int = 0) -> bytes:
    """Return the archive with other bytes in the n-th record of one kind."""
    at = -1
    for _ in range(nth + 1):
        at = data.index(magic, at + 1)
    return data[: at + offset] + value + data[at + offset + len(value) :]


def _with_two_pickles(canary: Path) -> bytes:
    """Return an archive with two entries of one name: torch reads the first, Python's zipfile the last."""
    evil = PROTOCOL + called("builtins.open", text(str(canary)), text("w")) + STOP
    data = archive(state(), more={"w/data.pkX": evil})
    return data.replace(b"w/data.pkX", b"w/data.pkl")


def _with_100001_entries() -> bytes:
    return zipped({"w/data.pkl": state()} | {f"w/data/{index}": b"" for index in range(100_000)})


def _deflated() -> bytes:
    """Return an archive whose storage is 200 MB of zeros."""
    return zipped({"w/data.pkl": state(), "w/data/0": bytes(2 * 10**8)}, zipfile.ZIP_DEFLATED)


def zips(canary: Path) -> Iterator[HostileFile]:
    """Yield archives with false declarations."""
    good = archive(state())
    size = struct.pack("<I", 2**31)
    for name, content, expected in (
        ("good", good, None),
        ("two-pickles", _with_two_pickles(canary), UNREADABLE),
        ("encrypted", _patched(good, _CENTRAL, 8, b"\x01\x00"), UNREADABLE),
        ("encrypted-in-one-header", _patched(good, _LOCAL, 6, b"\x01\x00"), UNREADABLE),
        ("compressed-in-one-header", _patched(good, _LOCAL, 8, b"\x08\x00"), UNREADABLE),
        ("other-name-in-one-header", _patched(good, _LOCAL, 30, b"v"), UNREADABLE),
        ("other-size-in-one-header", _patched(good, _LOCAL, 18, size), UNREADABLE),
        ("entry-beyond-the-file", _patched(good, _CENTRAL, 20, size + size), UNREADABLE),
        ("entry-of-exabytes", _patched(good, _CENTRAL, 20, b"\xff" * 8), UNREADABLE),
        ("overlap", _patched(good, _CENTRAL, 42, bytes(4), nth=1), UNREADABLE),
        ("header-in-nowhere", _patched(good, _CENTRAL, 42, size), UNREADABLE),
        ("other-disk", _patched(good, _CENTRAL, 34, b"\x01\x00"), UNREADABLE),
        ("directory-in-nowhere", _patched(good, _END, 16, size), UNREADABLE),
        ("directory-of-65535-entries", _patched(good, _END, 8, b"\xff" * 4), UNSUPPORTED),
        ("directory-of-fewer-entries", _patched(good, _END, 8, b"\x01\x00\x01\x00"), UNREADABLE),
        ("truncated", good[:-30], UNREADABLE),
        ("truncated-in-the-middle", good[: len(good) // 2], UNREADABLE),
        ("only-its-first-bytes", _LOCAL, UNREADABLE),
        ("trailing-data", good + b"#!/bin/sh", UNREADABLE),
        ("comment", good[:-2] + b"\x04\x00evil", UNREADABLE),
        ("leading-data", b"#!/bin/sh\n" + good, OTHER),
        ("gap", good[:4] + good[4:].replace(_LOCAL, b"gap " + _LOCAL, 1), UNREADABLE),
        ("strange-entry", archive(state(), more={"w/evil.sh": b"true"}), UNREADABLE),
        ("entry-outside", archive(state(), more={"../evil": b"true"}), UNREADABLE),
        ("two-folders", archive(state(), more={"v/version": b"3"}), UNREADABLE),
        ("name-that-is-no-text", archive(state(), more={"w/vX": b""}).replace(b"w/vX", b"w/v\xff"), UNREADABLE),
        ("other-byte-order", archive(state(), more={"w/byteorder": b"big"}), UNSUPPORTED),
        ("byte-order-of-a-megabyte", archive(state(), more={"w/byteorder": b"l" * 2**20}), UNSUPPORTED),
        (
            "100001-entries",
            _with_100001_entries,
            UNSUPPORTED,
        ),
        ("deflated", _deflated, UNREADABLE),
    ):
        yield HostileFile(f"zip-{name}.pt", 10, content, expected)


def legacy_files() -> Iterator[HostileFile]:
    """Yield files of the older format with other storages than their pickles declare."""
    two = state(x=tensor(storage("1", 1), (1,), (1,)))
    count = struct.pack("<q", VALUES)
    for name, content, expected in (
        ("good", legacy(state()), None),
        ("truncated", legacy(state())[:-1], UNREADABLE),
        ("trailing-data", legacy(state()) + b"\0", UNREADABLE),
        ("storage-that-is-missing", legacy(two), UNREADABLE),
        ("storage-of-nobody", legacy(state(), keys=("0", "1"), storages=count + WEIGHTS + bytes(8)), UNREADABLE),
        ("storage-twice", legacy(state(), keys=("0", "0"), storages=2 * (count + WEIGHTS)), UNREADABLE),
        ("negative-length", legacy(state(), storages=struct.pack("<q", -1) + WEIGHTS), UNREADABLE),
        ("other-version", legacy(state(), version=1002), UNREADABLE),
        ("other-byte-order", legacy(state(), little_endian=False), UNSUPPORTED),
        ("only-its-first-bytes", legacy(state())[:15], UNREADABLE),
    ):
        yield HostileFile(f"legacy-{name}.th", 2, content, expected)


def other_formats(canary: Path) -> Iterator[HostileFile]:
    """Yield files of formats with programs, and of unrelated formats."""
    evil = PROTOCOL + called("builtins.open", text(str(canary)), text("w")) + STOP
    script = {"m/data.pkl": evil, "m/code/__torch__.py": b"def forward(self): ...", "m/constants.pkl": evil}
    exported = {"p/archive_format": b"pt2", "p/models/model.json": b"{}", "p/data/sample_inputs/model.pt": evil}
    weights = {
        "p/archive_format": b"pt2",
        "p/data/weights/model_weights_config.json": b'{"config": {"use_pickle": true}}',
    }
    older = {"serialized_exported_program.json": b"{}", "serialized_example_inputs.pt": evil}
    yield HostileFile("other-torchscript.pt", 2, zipped(script), EXECUTABLE)
    yield HostileFile("other-exported-inputs.pt2", 4, zipped(exported), EXECUTABLE)
    yield HostileFile("other-exported-weights.pt2", 4, zipped(weights), EXECUTABLE)
    yield HostileFile("other-exported-by-older-torch.pt2", 4, zipped(older), EXECUTABLE)
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as tar:
        for name in ("sys_info", "pickle", "storages", "tensors"):
            info = tarfile.TarInfo(name)
            info.size = len(evil)
            tar.addfile(info, io.BytesIO(evil))
    yield HostileFile("other-tar.pt", 2, buffer.getvalue(), UNSUPPORTED)
    yield HostileFile("other-arrays.npz", 2, zipped({"weights.npy": b"\x93NUMPY"}), OTHER)
    yield HostileFile("other-hdf5.h5", 2, b"\x89HDF\r\n\x1a\n" + bytes(600), OTHER)
    yield HostileFile("other-gzip.pt.gz", 2, gzip.compress(archive(state()), mtime=0), OTHER)
    yield HostileFile("other-page.html", 2, b"<!doctype html><title>404</title>" * 20, OTHER)
    yield HostileFile("other-nothing", 2, b"", "empty_checkpoint")
