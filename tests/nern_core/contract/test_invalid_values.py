from typing import Annotated, Any, Literal

import pytest
from pydantic import Field, TypeAdapter, ValidationError

from nern_core.contract.errors import sentence_case
from nern_core.contract.invalid_values import explain_value
from nern_core.contract.options import Device


@pytest.mark.parametrize(
    ("kind", "value", "sentence"),
    [
        (int, "ten", "this must be a whole number."),
        (int, 1.5, "this must be a whole number."),
        (float, "x", "this must be a number."),
        (Annotated[int, Field(ge=1)], 0, "this must be at least 1."),
        (Annotated[float, Field(gt=1)], 1, "this must be more than 1."),
        (Annotated[int, Field(le=65535)], 99999, "this must be at most 65535."),
        (Annotated[int, Field(lt=2**63)], 2**63, "this must be less than 9223372036854775808."),
        (Annotated[float, Field(allow_inf_nan=False)], "nan", "this must be a finite number."),
        (Annotated[str, Field(min_length=1)], "", "use at least 1 character."),
        (Annotated[str, Field(max_length=2)], "abc", "use at most 2 characters."),
        (Device, "tpu", "use 'cpu' or 'gpu'."),
        (Literal["a", "b"], "c", "use 'a' or 'b'."),
        (bool, "maybe", "this must be true or false."),
    ],
)
def test_an_invalid_value_is_explained_in_plain_words(kind: Any, value: object, sentence: str) -> None:
    with pytest.raises(ValidationError) as refused:
        TypeAdapter(kind).validate_python(value)
    assert explain_value(refused.value.errors()[0]) == sentence


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("use only one of `a` and `b`.", "Use only one of `a` and `b`."),
        ("--steps: this must be at least 1.", "--steps: this must be at least 1."),
        ("http://host does not answer.", "http://host does not answer."),
        ("`dataset` needs `architecture`.", "`dataset` needs `architecture`."),
    ],
)
def test_a_sentence_begins_with_a_capital_unless_it_begins_with_a_name(text: str, sentence: str) -> None:
    assert sentence_case(text) == sentence
