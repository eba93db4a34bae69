import pytest

from nern_core.contract.errors import NernError, quoted
from nern_core.formats.tensor_claims import TensorClaim, check_expansion, check_name, is_shape


@pytest.mark.parametrize("name", ["conv.weight", "w" * 512, "Gewichte größer", "../etc"])
def test_names_that_a_network_can_have_are_taken(name: str) -> None:
    check_name(name)


@pytest.mark.parametrize("name", ["", "w" * 513, "a\nb", "a\0", "\u202e", "\ud800"])
def test_other_names_are_refused(name: str) -> None:
    with pytest.raises(NernError, match="printable characters") as error:
        check_name(name)
    assert error.value.code == "unsupported_tensor"


@pytest.mark.parametrize(
    ("sizes", "expected"),
    [
        ((), True),
        ((0, 2**40), True),
        ((2**20, 2**20), True),
        ((2**20, 2**20, 2), False),
        ((0, 2**41), False),
        ((1,) * 8, True),
        ((1,) * 9, False),
        ((-1,), False),
        ((10**4000,) * 8, False),
        ((0, 10**4000), False),
        ((True,), False),
        (("1",), False),
    ],
)
def test_shapes_have_few_dimensions_and_not_too_many_values(sizes: tuple[object, ...], expected: bool) -> None:
    assert is_shape(sizes) is expected


def test_tensors_may_be_larger_than_their_file_but_not_by_much() -> None:
    file_bytes = 2**30
    tied = {str(index): TensorClaim("F32", (2**28,)) for index in range(4)}
    check_expansion(tied, file_bytes)
    with pytest.raises(
        NernError, match="would take 5,368,709,120 bytes from a file of 1,073,741,824; the largest is '0'"
    ):
        check_expansion(tied | {"4": TensorClaim("F32", (2**28,))}, file_bytes)


def test_small_files_may_expand_to_some_mebibytes() -> None:
    check_expansion({"w": TensorClaim("F32", (2**22,))}, 400)


def test_names_in_sentences_are_short_and_printable() -> None:
    assert quoted("a\nb") == r"'a\nb'"
    assert quoted("x" * 1000) == f"'{'x' * 80}…'"
