from pathlib import Path
from typing import Any

import pytest

from nern_core.codec import read_encoding
from nern_core.errors import NernError
from tests.nern_core.codec.test_file import predicted, quantized, with_contents, write_encoding


def with_shape(contents: dict[str, Any], *shape: int) -> None:
    contents["document"]["layers"][0]["shape"] = list(shape)


def constant(size: int) -> dict[str, Any]:
    return {"name": "x", "shape": [size], "dtype": "float32", "constant": 1.0, "exponent": None}


@pytest.mark.parametrize("written", [predicted(), quantized()], ids=["predicted", "quantized"])
@pytest.mark.parametrize(
    "change",
    [
        lambda contents: with_shape(contents, 2**20, 2**20, 3, 3),
        lambda contents: with_shape(contents, 2**40, 1, 3, 3),
        lambda contents: contents["document"]["layers"][0].update(tile=2**40),
        lambda contents: contents["kept"].append(constant(2**40)),
        lambda contents: (
            contents["kept"].append(constant(2**20)),
            contents["document"].update(tied={f"again{i}": "x" for i in range(100)}),
        ),
    ],
    ids=["kernels", "filters", "tile", "constant", "tied"],
)
def test_tensors_far_beyond_the_file_are_refused_before_they_are_made(
    tmp_path: Path, written: Any, change: Any
) -> None:
    write_encoding(written, tmp_path / "x.nern")
    with_contents(tmp_path / "x.nern", change)
    with pytest.raises(NernError, match="bytes declare tensors of") as error:
        read_encoding(tmp_path / "x.nern")
    assert error.value.code == "bad_encoding"


@pytest.mark.parametrize(
    "change",
    [
        lambda contents: with_shape(contents, *[1] * 9),
        lambda contents: contents["kept"][0].update(shape=[1] * 9),
        lambda contents: contents["kept"][1].update(exponent=10**6),
        lambda contents: contents["kept"][0].update(constant=1e300),
        lambda contents: contents["document"]["representation"]["predictor"].update(hidden_size=-1),
        lambda contents: contents["document"]["representation"]["predictor"]["variant"]["encoding"].update(base=1e300),
    ],
    ids=["dimensions", "kept dimensions", "exponent", "constant", "hidden size", "base"],
)
def test_numbers_that_no_encoder_writes_are_refused(tmp_path: Path, change: Any) -> None:
    write_encoding(predicted(), tmp_path / "x.nern")
    with_contents(tmp_path / "x.nern", change)
    with pytest.raises(NernError) as error:
        read_encoding(tmp_path / "x.nern")
    assert error.value.code == "bad_encoding"
