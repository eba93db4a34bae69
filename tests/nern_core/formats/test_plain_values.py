from collections import OrderedDict
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import JsonValue, TypeAdapter

from nern_core.formats.plain_values import NotPlainError, PlainValuesWriter, from_json

SCALARS = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text() | st.binary()
PLAIN = st.recursive(
    SCALARS,
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.lists(inner, max_size=3).map(tuple)
        | st.dictionaries(st.text(max_size=3) | st.just("$tuple") | st.integers(), inner, max_size=3)
        | st.dictionaries(st.text(max_size=3), inner, max_size=3).map(OrderedDict)
    ),
    max_leaves=10,
)
JSON: TypeAdapter[JsonValue] = TypeAdapter(JsonValue)


@given(PLAIN)
def test_plain_values_come_back_from_json_with_their_types(value: Any) -> None:
    written = JSON.validate_json(JSON.dump_json(PlainValuesWriter().write(value)))
    found = from_json(written)
    assert repr(found) == repr(value)


def test_a_number_that_is_none_comes_back() -> None:
    assert repr(from_json(PlainValuesWriter().write(float("nan")))) == "nan"


@pytest.mark.parametrize("value", [object(), {1, 2}, [object()], {"a": object()}, {object(): 1}])
def test_objects_are_not_written(value: object) -> None:
    with pytest.raises(NotPlainError):
        PlainValuesWriter().write(value)


def test_a_list_in_itself_is_not_written() -> None:
    value: list[Any] = []
    value.append(value)
    with pytest.raises(NotPlainError):
        PlainValuesWriter().write(value)


def test_what_is_repeated_without_end_is_counted_over_all_values() -> None:
    writer = PlainValuesWriter()
    value = [0] * 20_000
    writer.write(value)
    writer.write(value)
    with pytest.raises(NotPlainError):
        writer.write(value)


@pytest.mark.parametrize(
    "written",
    [
        {"$other": 1},
        {"$tuple": 1},
        {"$bytes": "?"},
        {"$float": "x"},
        {"$pairs": [[1]]},
        {"$pairs": [[[], 1]]},
        {"$bytes": 1},
    ],
)
def test_what_was_never_written_is_not_read(written: JsonValue) -> None:
    with pytest.raises(NotPlainError):
        from_json(written)
