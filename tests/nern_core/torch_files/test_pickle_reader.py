import pickle
from collections import OrderedDict
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nern_core.errors import NernError
from nern_core.tensor_claims import TensorClaim
from nern_core.torch_files.descriptions import Storage, StoredTensor
from nern_core.torch_files.pickle_reader import PickleReader
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


@given(PLAIN, st.sampled_from([3, 4]))
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
    with pytest.raises(NernError, match="repeats a value that it does not have"):
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
        (b"cos\nsystem\n.", "executable_checkpoint", "needs 'os.system' to be loaded"),
        (b"c__builtin__\neval\n.", "executable_checkpoint", "needs 'builtins.eval' to be loaded"),
        (b"cevil\nx\r\n.", "executable_checkpoint", r"needs 'evil.x\\r' to be loaded"),
        (called("torch.Tensor", integer(9)) + b".", "executable_checkpoint", "calls 'torch.Tensor'"),
        (b"(imath\ncos\n.", "executable_checkpoint", "has the pickle opcode 0x69"),
        (b"]}b.", "executable_checkpoint", "sets the state of something else than a dict"),
        (b"])Ns.", "unreadable_checkpoint", "sets items of what is no dict"),
        (b"})Ns.", "unsupported_format", "a dict with a tuple as a key"),
        (b"}Na.", "unreadable_checkpoint", "appends to what is no list"),
        (b"NN\x93.", "unreadable_checkpoint", "a global without a name"),
        (b"N)R.", "unreadable_checkpoint", "calls what is no function"),
        (text("storage") + b"\x85Q.", "unreadable_checkpoint", "refers to something else than a storage"),
        (b"X\x09\x00\x00\x00abc.", "unreadable_checkpoint", "cut short"),
        (b"ca\nb", "unreadable_checkpoint", "a name without an end"),
        (b"e.", "unreadable_checkpoint", "takes values that it does not have"),
        (b"t.", "unreadable_checkpoint", "takes values that it does not have"),
    ],
)
def test_what_describes_no_state_dict_is_named(opcodes: bytes, code: str, sentence: str) -> None:
    with pytest.raises(NernError, match=sentence) as error:
        PickleReader(opcodes).read()
    assert error.value.code == code
    assert error.value.message.endswith(
        "; save the network's state_dict() with torch.save or safetensors and send that."
    )
