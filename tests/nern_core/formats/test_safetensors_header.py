import io
import json
from typing import Any

import pytest
import safetensors.torch
import torch
from hypothesis import given
from hypothesis import strategies as st

from nern_core.contract.errors import NernError
from nern_core.formats.safetensors_header import read_header
from nern_core.formats.tensor_claims import TensorClaim
from tests.hostile.forge import claim, safetensors_file

NAMES = st.text(st.characters(categories=["L", "N", "P", "S"]), min_size=1, max_size=20).filter(
    lambda name: name != "__metadata__"
)


def header_of(content: bytes) -> dict[str, TensorClaim]:
    return read_header(io.BytesIO(content), len(content))


@given(
    st.dictionaries(NAMES, st.lists(st.integers(0, 4), max_size=5), max_size=5),
    # The library writes no valid header for no tensors and empty metadata.
    st.none() | st.dictionaries(st.text(max_size=9), st.text(max_size=9), min_size=1, max_size=3),
)
def test_headers_of_the_library_are_read(shapes: dict[str, list[int]], metadata: dict[str, str] | None) -> None:
    tensors = {name: torch.zeros(shape, dtype=torch.bfloat16) for name, shape in shapes.items()}
    found = header_of(safetensors.torch.save(tensors, metadata))
    assert found == {name: TensorClaim("BF16", tuple(shape)) for name, shape in shapes.items()}


def test_metadata_are_left_behind() -> None:
    found = header_of(safetensors_file({"__metadata__": {"": "", "format": "pt {}"}, "w": claim()}))
    assert found == {"w": TensorClaim("F32", (32, 16, 3, 3))}


@pytest.mark.parametrize("layout", [{}, {"indent": 1}, {"separators": (" , ", " : ")}])
def test_white_space_is_allowed_where_json_allows_it(layout: dict[str, Any]) -> None:
    text = json.dumps({"__metadata__": {"a": "{}"}, "w": claim()}, **layout).encode() + b"   "
    assert header_of(safetensors_file(text)) == {"w": TensorClaim("F32", (32, 16, 3, 3))}


@pytest.mark.parametrize(
    ("header", "sentence"),
    [
        (b'{"w":' + json.dumps(claim()).encode() + b"} x", "not a table of tensors"),
        (b'{"w":' + json.dumps(claim()).encode() + b",}", "not a table of tensors"),
        ({"w": claim() | {"more": 1}}, "not a table of tensors"),
        ({"__metadata__": claim()}, "not a table of tensors"),
        ({"w": {}}, "not a table of tensors"),
        ({"w": claim(shape=(2,))}, "'w' has 18432 bytes instead of 8"),
        ({"w": claim(dtype="F4")}, "has the dtype 'F4'"),
        ({"w": claim(shape=(1,) * 9)}, "impossible shape"),
        ({"w": claim(0, 2**63)}, "not a table of tensors"),
        ({"w": claim(0, 10**1500)}, "not a table of tensors"),
    ],
)
def test_what_is_wrong_with_a_header_is_named(header: Any, sentence: str) -> None:
    with pytest.raises(NernError, match=sentence):
        header_of(safetensors_file(header))
