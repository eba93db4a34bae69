import argparse
import collections
import dataclasses
import datetime as dt
import decimal
import enum
import functools
import pathlib
import pickle
import random
import re
import uuid
from collections import OrderedDict
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from nern_core.contract.errors import NernError
from nern_core.formats.tensor_claims import TensorClaim
from nern_core.formats.torch_files.descriptions import LeftBehind, Storage, StoredTensor
from nern_core.formats.torch_files.pickle_reader import PickleReader
from tests.hostile.forge import called, integer, mapping, named, storage, tensor, text

PLAIN = st.recursive(
    st.one_of(
        *(st.none(), st.booleans(), st.integers(-(2**70), 2**70), st.floats(allow_nan=False)),
        *(st.text(max_size=300), st.binary(max_size=300)),
    ),
    lambda inner: st.one_of(
        st.lists(inner, max_size=5),
        st.lists(inner, max_size=5).map(tuple),
        st.dictionaries(st.text(max_size=5) | st.integers(-9, 9), inner, max_size=4),
    ),
)


@given(PLAIN, st.sampled_from([0, 1, 2, 3, 4, 5]))
def test_plain_values_come_back_as_they_were_pickled(value: Any, protocol: int) -> None:
    assert PickleReader(pickle.dumps(value, protocol)).read() == value


@pytest.mark.parametrize("protocol", [2, 3, 4])
def test_values_that_are_told_once_and_used_often_come_back(protocol: int) -> None:
    shared = ["a", ("b", 1)]
    value = {"x": shared, "y": [shared, shared[1]], "ordered": OrderedDict(z=shared)}
    found = PickleReader(pickle.dumps(value, protocol)).read()
    assert found == value
    assert isinstance(found, dict)
    assert found["x"] is found["y"][0] is found["ordered"]["z"]


def test_text_of_python_2_is_read() -> None:
    assert PickleReader(b"\x80\x02U\x03abcq\x00.").read() == "abc"


def test_pickles_are_read_one_after_another_each_with_its_own_memo() -> None:
    reader = PickleReader(pickle.dumps(["first"], 2) + b"\x80\x02h\x00.")
    assert reader.read() == ["first"]
    with pytest.raises(NernError, match="repeats a value that is not in its memo"):
        reader.read()


def test_a_tensor_is_described() -> None:
    reader = PickleReader(tensor(storage("7", 100, "torch.HalfStorage"), (3, 2), (1, 3), offset=5) + b".")
    stored = Storage("7", "F16", 2, 100)
    assert reader.read() == StoredTensor(TensorClaim("F16", (3, 2)), (1, 3), 5, stored)
    assert reader.storages == {"7": stored}


def test_an_ordered_dict_of_python_2_is_made_of_pairs() -> None:
    pairs = b"](](" + text("a") + integer(1) + b"ee"
    assert PickleReader(named("collections.OrderedDict") + pairs + b"\x85R.").read() == OrderedDict(a=1)


def test_calls_whose_values_nobody_uses_are_left_undone() -> None:
    found = PickleReader(mapping({"x": called("builtins.bytearray", integer(10**12)), "y": integer(1)}) + b".").read()
    assert isinstance(found, dict)
    assert found["y"] == 1
    assert not isinstance(found["x"], bytes | bytearray)


@pytest.mark.parametrize(
    ("opcodes", "code", "sentence"),
    [
        (b"\x82\x01.", "executable_checkpoint", "has the pickle opcode 0x82"),
        (b"Pmodule\n.", "executable_checkpoint", "refers to something that is not a storage"),
        (b"])Ns.", "unreadable_checkpoint", "sets items of something that is not a dict"),
        (b"}]Ns.", "unsupported_format", "a dict with a list as a key"),
        (b"}" + b")" + b"\x85" * 5 + b"Ns.", "unsupported_format", "a dict with a tuple as a key"),
        (b"Ione\n.", "unreadable_checkpoint", "a number with characters that are not"),
        (b"gone\n.", "unreadable_checkpoint", "a memo index that is not a number"),
        (b"Sone\n.", "unreadable_checkpoint", "a string without quotes"),
        (b"N)\x81.", "unreadable_checkpoint", "makes an object of something that is not a class"),
        (b"}Na.", "unreadable_checkpoint", "appends to something that is not a list"),
        (b"NN\x93.", "unreadable_checkpoint", "a global without a name"),
        (b"N)R.", "unreadable_checkpoint", "calls something that is not a function"),
        (text("storage") + b"\x85Q.", "unreadable_checkpoint", "refers to something that is not a storage"),
        (b"X\x09\x00\x00\x00abc.", "unreadable_checkpoint", "cut short"),
        (b"ca\nb", "unreadable_checkpoint", "a name without an end"),
        (b"e.", "unreadable_checkpoint", "pops values from an empty stack"),
        (b"t.", "unreadable_checkpoint", "pops values from an empty stack"),
    ],
)
def test_what_describes_no_state_dict_is_named(opcodes: bytes, code: str, sentence: str) -> None:
    with pytest.raises(NernError, match=sentence) as error:
        PickleReader(opcodes).read()
    assert error.value.code == code
    assert error.value.message.endswith(
        "; save the network's state_dict() with torch.save or safetensors and use that."
    )


@pytest.mark.parametrize(
    ("opcodes", "refusal"),
    [
        (b"cos\nsystem\n.", "needs 'os.system' to be loaded"),
        (b"c__builtin__\neval\n.", "needs 'builtins.eval' to be loaded"),
        (b"cevil\nx\r\n.", r"needs 'evil.x\r' to be loaded"),
        (b"(S'true'\nios\nsystem\n.", "needs 'os.system' to be loaded"),
        (b"(cos\nsystem\nS'true'\no.", "needs 'os.system' to be loaded"),
        (called("torch.Tensor", integer(9)) + b".", "calls 'torch.Tensor'"),
        (named("torch.FloatStorage") + b")\x81.", "makes 'torch.FloatStorage' in a way that torch.save never does"),
        (b"]}b.", "sets the state of something that is not a dict"),
    ],
)
def test_what_would_run_a_program_is_remembered_and_not_done(opcodes: bytes, refusal: str) -> None:
    reader = PickleReader(opcodes)
    reader.read()
    assert reader.refusal == refusal


@dataclasses.dataclass
class Configuration:
    """A class of a module that no reader could import."""

    rate: float
    layers: list[int]


class Mode(enum.Enum):
    TRAIN = 1


BESIDE_WEIGHTS = {
    "namespace": argparse.Namespace(lr=0.1, path=pathlib.Path("/data"), mode=Mode.TRAIN),
    "object": Configuration(0.1, [1, 2]),
    "class": Configuration,
    "enum": Mode.TRAIN,
    "path": pathlib.PurePosixPath("a/b"),
    "time": [dt.datetime(2026, 1, 2, tzinfo=dt.UTC), dt.timedelta(1), dt.date(2026, 1, 2)],
    "defaultdict": collections.defaultdict(list, a=[1]),
    "counter": collections.Counter("abc"),
    "deque": collections.deque([1, 2], maxlen=3),
    "frozenset": frozenset({1, "a"}),
    "set": {1, 2},
    "bytearray": bytearray(b"abc"),
    "numpy scalar": np.float64(0.9),
    "numpy bool": np.bool_(1),
    "numpy array": np.arange(6, dtype=np.int32).reshape(2, 3),
    "numpy random state": np.random.RandomState(0),
    "numpy generator": np.random.default_rng(0),
    "random state": random.Random(0).getstate(),
    "random": random.Random(0),
    "huge integer": 7**2000,
    "tuple keys": {("a", 1): 1, ("b", ("c", 2)): 2, frozenset({1}): 3, Mode.TRAIN: 4, b"key": 5},
    "partial": functools.partial(Configuration, 0.1),
    "decimal": decimal.Decimal("0.1"),
    "uuid": uuid.UUID(int=7),
    "pattern": re.compile("a+"),
    "type": type(None),
    "types of Python": [int, str, range, float],
    "exact": (0.5, -0.0, 1e300, "ä\n€𝄞", b"\x00\xff", 2**70, -1, None, True),
}


@pytest.mark.parametrize("protocol", range(6))
@pytest.mark.parametrize("name", BESIDE_WEIGHTS)
def test_what_stands_beside_weights_is_read_past(name: str, protocol: int) -> None:
    reader = PickleReader(pickle.dumps({"before": 1, "it": BESIDE_WEIGHTS[name], "after": "2"}, protocol))
    found = reader.read()
    assert isinstance(found, dict)
    assert reader.refusal is None
    assert (list(found), found["before"], found["after"]) == (["before", "it", "after"], 1, "2")


@pytest.mark.parametrize("protocol", range(6))
def test_objects_are_described_by_the_names_of_their_classes(protocol: int) -> None:
    found = PickleReader(pickle.dumps([argparse.Namespace(a=1), Configuration(1, [])], protocol)).read()
    assert found == [LeftBehind("argparse.Namespace"), LeftBehind(f"{__name__}.Configuration")]


def test_weights_within_a_defaultdict_are_seen() -> None:
    assert PickleReader(pickle.dumps(collections.defaultdict(dict, a={"b": 1}), 2)).read() == {"a": {"b": 1}}


def test_long_tuples_as_keys_use_up_what_a_pickle_may_take() -> None:
    key = b"(" + b"N" * 100_000 + b"tq\x01"
    with pytest.raises(NernError, match="too many other values"):
        PickleReader(key + b"}" + b"h\x01Ns" * 100_000 + b".").read()
