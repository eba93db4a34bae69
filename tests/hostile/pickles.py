"""Torch files with hostile pickles: code, memory and shape bombs, unusual kinds of tensors, odd structures."""

import argparse
import io
import pickle
import struct
import zipfile
from collections.abc import Iterator
from pathlib import Path

import torch

from tests.hostile.forge import (
    ORDERED_DICT,
    PROTOCOL,
    SHAPE,
    STOP,
    STRIDE,
    VALUES,
    WEIGHTS,
    HostileFile,
    archive,
    called,
    integer,
    integers,
    legacy,
    mapping,
    named,
    sequence,
    state,
    storage,
    tensor,
    text,
)

EXECUTABLE, UNREADABLE, UNSUPPORTED = "executable_checkpoint", "unreadable_checkpoint", "unsupported_format"
TENSOR = "unsupported_tensor"
_FLOAT = struct.pack("<f", 1.0)


def code(canary: Path) -> Iterator[HostileFile]:
    """Yield files whose code would run in a naive reader, and would then create the file `canary`."""
    touch = called("builtins.open", text(str(canary)), text("w"))
    for name, call in {
        "open": touch,
        "system": called("posix.system", text(f"touch {canary}")),
        "eval": called("builtins.eval", text(f"open({str(canary)!r}, 'w')")),
        "exec-of-python-2": called("__builtin__.exec", text(f"open({str(canary)!r}, 'w')")),
        "getattr": called("builtins.getattr", ORDERED_DICT, text("__class__")),
        "torch-load": called("torch.serialization.load", text(str(canary))),
        "torch-hub": called("torch.hub.load", text("a/b"), text("c")),
        "numpy-load": called("numpy.load", text(str(canary))),
        "dotted-name": b"ctorch\n_utils.__builtins__\n",
        "partial": called("functools.partial", named("builtins.open")),
    }.items():
        yield HostileFile(f"code-{name}.pt", 1, archive(state(x=call)), EXECUTABLE)
        yield HostileFile(f"code-{name}.th", 1, legacy(state(x=call)), EXECUTABLE)
    stacked = text("builtins") + text("open") + b"\x93" + sequence(text(str(canary)), text("w")) + b"R"
    for name, opcodes in {
        "stack-global": stacked,
        "inst": b"(" + text(str(canary)) + text("w") + b"ibuiltins\nopen\n",
        "obj": b"(" + named("collections.OrderedDict") + b"o",
        "newobj": named("collections.OrderedDict") + b")\x81",
        "extension": b"\x82\x01",
        "persistent-text": b"Pstorage\n",
        "setstate": called("torch.device", text("cpu")) + mapping({"x": b"N"}) + b"b",
        "call-of-a-string": text("os.system") + sequence(text("true")) + b"R",
    }.items():
        expected = UNREADABLE if name == "call-of-a-string" else EXECUTABLE
        yield HostileFile(f"code-{name}.pt", 6, archive(state(x=opcodes)), expected)
    module = torch.nn.Conv2d(16, 32, 3)
    for name, content, outcome in (
        ("namespace", {"args": argparse.Namespace(a=1)}, "no_tensors"),
        ("namespace-beside-weights", {"args": argparse.Namespace(a=1), "model": module.state_dict()}, None),
        ("module", module, EXECUTABLE),
        ("module-under-a-key", {"model": module, "epoch": 3}, EXECUTABLE),
    ):
        buffer = io.BytesIO()
        torch.save(content, buffer)
        yield HostileFile(f"code-{name}.pt", 1, buffer.getvalue(), outcome)
    plain = PROTOCOL + touch + STOP
    yield HostileFile("code-plain-pickle.pkl", 1, plain, "not_a_checkpoint")
    yield HostileFile("code-protocol-0.pkl", 1, pickle.dumps([1], 0), "not_a_checkpoint")


def memory() -> Iterator[HostileFile]:
    """Yield small files that demand gigabytes or minutes."""
    for name, call, expected in (
        ("bytearray-2e9", called("builtins.bytearray", integer(2 * 10**9)), None),
        ("bytearray-1e11", called("builtins.bytearray", integer(10**11)), None),
        ("tensor-1e9", called("torch.Tensor", integer(10**9)), EXECUTABLE),
        ("storage-1e9", called("torch.storage.UntypedStorage", integer(10**9)), EXECUTABLE),
        ("storage-of-a-file", called("torch.storage.UntypedStorage", text("/etc/passwd")), EXECUTABLE),
        ("text-of-4-gigabytes", b"X" + struct.pack("<I", 2**32 - 1), UNREADABLE),
        ("text-of-exabytes", b"\x8d" + struct.pack("<Q", 2**63 - 1), EXECUTABLE),
        ("integer-of-2-gigabytes", b"\x8b" + struct.pack("<I", 2**31 - 1), UNREADABLE),
        ("integer-of-megabytes", b"\x8b" + struct.pack("<I", 2**22) + b"\xff" * 2**22, None),
        ("integer-of-many-digits", b"I" + b"9" * 2**22 + b"\n", None),
        ("long-tuples-as-keys", b"(" + b"N" * 100_000 + b"tq\x01}" + b"h\x01Ns" * 100_000, UNSUPPORTED),
        ("billion-laughs", b")" + b"q\x63h\x63\x86" * 64, None),
        ("lists", b"]" * 2_000_000, UNSUPPORTED),
        ("dicts", b"}" * 1_000_000, UNSUPPORTED),
        ("marks", b"(" * 8_000_000, UNSUPPORTED),
        ("memo", b"N" + b"".join(b"r" + struct.pack("<I", index) for index in range(600_000)), UNSUPPORTED),
        ("opcodes", b"K\x01" * 6_000_000, UNSUPPORTED),
        (
            "ordered-dict-of-a-long-list",
            b"]("
            + sequence(text("a"), b"N") * 10_000
            + b"eq\x01"
            + (named("collections.OrderedDict") + b"h\x01\x85R") * 5000,
            UNSUPPORTED,
        ),
    ):
        yield HostileFile(f"memory-{name}.pt", 7, archive(state(x=call)), expected)
    yield HostileFile("memory-pickle.pt", 7, archive(state(x=b"N" * 2**24)), UNSUPPORTED)
    # Long enough to be searched for in memory, and a name that is shown.
    yield HostileFile("memory-name-of-a-global.pt", 7, archive(state(x=b"c" + b"a" * 2**20 + b"\nb\n")), UNREADABLE)


def shapes() -> Iterator[HostileFile]:
    """Yield tensors that are larger than their bytes."""
    one = {"1": _FLOAT}
    small = storage("1", 1)
    for name, made, expected in (
        ("expanded", tensor(small, (10**6, 10**6), (0, 0)), TENSOR),
        ("expanded-a-little", tensor(small, (64, 64), (0, 0)), None),
        ("out-of-range", tensor(small, (2**40, 2**40), (0, 0)), UNREADABLE),
        ("beyond-64-bits", tensor(small, (2**70,), (0,)), UNREADABLE),
        ("beyond-its-storage", tensor(small, (2,), (1,)), UNREADABLE),
        ("offset-beyond-its-storage", tensor(small, (1,), (1,), offset=1), UNREADABLE),
        ("stride-beyond-its-storage", tensor(small, (2, 1), (2**61, 1)), UNREADABLE),
        ("negative-offset", tensor(small, (1,), (1,), offset=-1), UNREADABLE),
        ("negative-stride", tensor(small, (1,), (-1,)), UNREADABLE),
        ("negative-size", tensor(small, (-1,), (1,)), UNREADABLE),
        ("65-dimensions", tensor(small, (1,) * 65, (1,) * 65), UNREADABLE),
        ("fewer-strides", tensor(small, (1, 1), (1,)), UNREADABLE),
        ("size-of-text", tensor(small, sequence(text("1")), (1,)), UNREADABLE),
        ("size-of-bools", tensor(small, sequence(b"\x88"), (1,)), UNREADABLE),
        ("no-storage", tensor(text("storage"), (1,), (1,)), UNREADABLE),
        ("storage-of-1000-in-4-bytes", tensor(storage("1", 1000), (1000,), (1,)), UNREADABLE),
        ("storage-of-exabytes", tensor(storage("1", 2**61), (1,), (1,)), UNREADABLE),
        ("storage-that-is-missing", tensor(storage("2", 1), (1,), (1,)), UNREADABLE),
        ("storage-outside", tensor(storage("../../../etc/passwd", 1), (1,), (1,)), UNREADABLE),
        ("storage-of-two-dtypes", tensor(storage("0", VALUES, "torch.IntStorage"), (1,), (1,)), UNREADABLE),
        ("storage-by-another-id", sequence(text("module"), text("1")) + b"Q", UNREADABLE),
    ):
        yield HostileFile(f"shape-{name}.pt", 8, archive(state(x=made), one), expected)
    aliases = {f"alias{index}": tensor(storage("1", 2**18), (2**18,), (1,)) for index in range(5000)}
    yield HostileFile("shape-5000-aliases.pt", 8, archive(state(**aliases), {"1": bytes(2**20)}), TENSOR)
    lying = legacy(state(), storages=struct.pack("<q", 2**60) + WEIGHTS)
    yield HostileFile("shape-declared-twice.th", 3, lying, UNREADABLE)


def kinds() -> Iterator[HostileFile]:
    """Yield tensors of unusual kinds: each is refused by name, or read."""
    indices, values = torch.tensor([[0, 10**9 - 1], [0, 10**9 - 1]]), torch.ones(2)
    sparse = torch.sparse_coo_tensor(indices, values, (10**9, 10**9), check_invariants=True)
    layout = called("torch.serialization._get_layout", text("torch.sparse_coo"))
    outside = sequence(tensor(), tensor(), integers((1, 1)), b"N")
    yield _saved("sparse", sparse, TENSOR, row=9)
    bad = called("torch._utils._rebuild_sparse_tensor", layout, outside)
    yield HostileFile("kind-sparse-out-of-range.pt", 9, archive(state(x=bad)), TENSOR)
    yield _saved("meta", torch.empty(10**9, 10**6, device="meta"), TENSOR)
    yield _saved("bool", torch.tensor([True, False]), None)
    yield _saved("complex64", torch.ones(2, dtype=torch.complex64), None)
    yield _saved("complex128", torch.ones(2, dtype=torch.complex128), TENSOR)
    yield _saved("conjugate", torch.ones(2, dtype=torch.complex64).conj(), TENSOR)
    yield _saved("float8", torch.ones(2, dtype=torch.float8_e4m3fn), None)
    yield _saved("float8-of-scales", torch.ones(2, dtype=torch.float8_e8m0fnu), TENSOR)
    yield _saved("parameter", torch.nn.Parameter(torch.ones(2)), None)
    for name, call in {
        "quantized": called("torch._utils._rebuild_qtensor", storage("1", 4, "torch.QInt8Storage")),
        "nested": called("torch._utils._rebuild_nested_tensor", tensor()),
        "subclass": called("torch._tensor._rebuild_from_type_v2", named("torch.Tensor"), b")"),
    }.items():
        yield HostileFile(f"kind-{name}.pt", 8, archive(state(x=call), {"1": _FLOAT}), TENSOR)


def structures() -> Iterator[HostileFile]:
    """Yield unusual wrappers, names and keys."""
    weights = tensor()
    build = ORDERED_DICT + b"(" + text("conv.weight") + weights + b"u"
    for name, pickled, expected in (
        ("list-in-itself", state(x=b"]q\x01h\x01a"), None),
        ("100000-lists", state(x=b"]" * 100_000 + b"a" * 99_999), None),
        ("100000-tuples", state(x=b")" + b"\x85" * 100_000), None),
        ("key-of-nested-tuples", state(x=b"})" + b"\x85" * 100_000 + b"Ns"), UNSUPPORTED),
        ("key-of-a-huge-integer", state(x=b"}" + integer(2**1000) + b"Ns"), UNSUPPORTED),
        ("state-dict-in-itself", PROTOCOL + b"}q\x01(" + text("model") + b"h\x01" + text("w") + weights + b"u.", None),
        ("metadata", PROTOCOL + build + mapping({"_metadata": ORDERED_DICT}) + b"b.", None),
        ("items-overwritten", PROTOCOL + build + mapping({"items": integer(1)}) + b"b.", None),
        ("tensor-under-a-number", state(x=b"N")[:-2] + integer(7) + weights + b"u.", None),
        ("name-of-another-folder", state(**{"../../../etc/passwd": weights}), None),
        ("name-with-line-breaks", state(**{"a\r\nSet-Cookie: b": weights}), TENSOR),
        ("name-with-nul", state(**{"a\0b": weights}), TENSOR),
        ("name-that-turns-text-around", state(**{"a\u202eb": weights}), TENSOR),
        ("name-of-4-kilobytes", state(**{"a" * 4096: weights}), TENSOR),
        ("name-that-is-empty", state(**{"": weights}), TENSOR),
        (
            "20001-tensors",
            state(**{f"t{index}": tensor(size=(1,), stride=(1,)) for index in range(20_001)}),
            UNSUPPORTED,
        ),
        ("no-dict", PROTOCOL + b"]" + weights + b"a.", "no_tensors"),
        ("one-tensor", PROTOCOL + weights + STOP, "no_tensors"),
        ("no-tensors", PROTOCOL + mapping({"epoch": integer(3)}) + STOP, "no_tensors"),
        ("nothing", PROTOCOL + STOP, UNREADABLE),
        ("never-stops", PROTOCOL + b"}", UNREADABLE),
        ("takes-from-an-empty-stack", PROTOCOL + b"s.", UNREADABLE),
        ("takes-across-a-mark", PROTOCOL + b"}" + text("a") + b"(s.", UNREADABLE),
        ("memo-that-is-empty", PROTOCOL + b"h\x07.", UNREADABLE),
        ("text-that-is-none", PROTOCOL + b"X\x02\x00\x00\x00\xff\xfe.", UNREADABLE),
        ("surrogates", PROTOCOL + b"X\x03\x00\x00\x00\xed\xa0\x80.", UNREADABLE),
    ):
        yield HostileFile(f"structure-{name}.pt", 12, archive(pickled), expected)


def values() -> Iterator[HostileFile]:
    """Yield weights that are not finite, which is only detected when they are read."""
    for name, value in {"nan": "nan", "inf": "inf", "minus-inf": "-inf"}.items():
        broken = struct.pack("<f", float(value)) + WEIGHTS[4:]
        content = archive(state(), {"0": broken})
        yield HostileFile(f"values-{name}.pt", 13, content, "non_finite", at_upload=False)


def _saved(name: str, value: torch.Tensor, expected: str | None, *, row: int = 8) -> HostileFile:
    """Return a file written by torch itself."""
    buffer = io.BytesIO()
    weights = torch.frombuffer(bytearray(WEIGHTS), dtype=torch.float32).view(SHAPE)
    torch.save({"conv.weight": weights, "x": value}, buffer)
    assert weights.stride() == STRIDE
    assert zipfile.is_zipfile(buffer)
    return HostileFile(f"kind-{name}.pt", row, buffer.getvalue(), expected)
