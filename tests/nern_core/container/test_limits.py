from pathlib import Path
from typing import Any

import pytest
import torch

from nern_core.contract.errors import NernError
from nern_core.representations.files import read_encoding, write_encoding
from tests.nern_core.container.test_file import predicted, quantized, with_contents


def with_shape(contents: dict[str, Any], *shape: int) -> None:
    contents["document"]["layers"][0]["shape"] = list(shape)


def predictor(contents: dict[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = contents["document"]["representation"]["predictor"]
    return found


def with_kept(contents: dict[str, Any], size: int, aliases: int = 0) -> None:
    kept = {"name": "x", "shape": [size], "dtype": "float32", "constant": 1.0, "exponent": None}
    contents["kept"].append(kept)
    tied = {f"again{index}": "x" for index in range(aliases)}
    contents["document"]["tied"] |= tied
    contents["document"]["tensor_order"] += ["x", *tied]


def with_empty(contents: dict[str, Any], shape: list[int], dtype: str = "float32") -> None:
    contents["kept"].append({"name": "x", "shape": shape, "dtype": dtype, "constant": None, "exponent": None})
    contents["document"]["tensor_order"].append("x")


@pytest.mark.parametrize("written", [predicted(), quantized()], ids=["predicted", "quantized"])
@pytest.mark.parametrize(
    "change",
    [
        lambda contents: with_shape(contents, 2**20, 2**20, 3, 3),
        lambda contents: with_shape(contents, 2**40, 1, 3, 3),
        lambda contents: contents["document"]["layers"][0].update(tile=2**40),
        lambda contents: with_kept(contents, 2**40),
        lambda contents: with_kept(contents, 2**20, aliases=200),
    ],
    ids=["kernels", "filters", "tile", "constant", "tied"],
)
def test_tensors_far_beyond_the_file_are_refused_before_they_are_made(
    tmp_path: Path, written: Any, change: Any
) -> None:
    write_encoding(written, tmp_path / "x.nern")
    with_contents(tmp_path / "x.nern", change)
    with pytest.raises(NernError, match=r"bytes declare [\d,]+ bytes of tensors") as error:
        read_encoding(tmp_path / "x.nern")
    assert error.value.code == "bad_encoding"


@pytest.mark.parametrize("shape", [[1 << 26, 1], [1, 1 << 26]], ids=["filters", "channels"])
def test_the_tables_of_quantized_layers_count(tmp_path: Path, shape: list[int]) -> None:
    write_encoding(quantized(), tmp_path / "x.nern")
    with_contents(tmp_path / "x.nern", lambda contents: contents["document"]["layers"][0].update(shape=shape, tile=1))
    with pytest.raises(NernError, match=r"bytes declare [\d,]+ bytes of tensors") as error:
        read_encoding(tmp_path / "x.nern")
    assert error.value.code == "bad_encoding"


@pytest.mark.parametrize(
    "change",
    [
        lambda contents: with_shape(contents, *[1] * 9),
        lambda contents: contents["kept"][0].update(shape=[1] * 9),
        lambda contents: contents["kept"][1].update(exponent=10**6),
        lambda contents: contents["kept"][0].update(constant=1e300, dtype="int8"),
        lambda contents: contents["kept"].append(contents["kept"][0]),
        lambda contents: contents["document"]["layers"].append(contents["document"]["layers"][0]),
        lambda contents: predictor(contents).update(hidden_size=-1),
        lambda contents: predictor(contents).update(hidden_size=2**31),
        lambda contents: predictor(contents)["variant"]["encoding"].update(base=1e300),
        lambda contents: with_shape(contents, 1, 10**400),
        lambda contents: contents["document"]["layers"][0].update(shape=[1, 10**400], tile=1),
        lambda contents: contents["document"]["layers"][0].update(tile=10**400),
        lambda contents: with_empty(contents, [0, 2**63]),
        lambda contents: with_empty(contents, [0, 10**30]),
        lambda contents: with_empty(contents, [0, 2**62, 2**62]),
        lambda contents: with_empty(contents, [0], dtype="complex128"),
        lambda contents: contents["document"].update(extra_states={"x": {"$float": 10**400}}),
        lambda contents: contents["document"]["source"].update(bytes=10**400),
        lambda contents: contents["streams"].append(10**400),
    ],
    ids=[
        *("dimensions", "kept dimensions", "exponent", "constant", "kept twice", "layer twice"),
        *("negative hidden size", "huge hidden size", "base"),
        *("huge layer", "huge matrix", "huge tile", "empty beyond 64 bits", "empty beyond 99 bits", "empty in 3 axes"),
        *("a dtype without a format", "huge float", "huge source", "huge stream"),
    ],
)
def test_numbers_that_no_encoder_writes_are_refused(tmp_path: Path, change: Any) -> None:
    write_encoding(predicted(), tmp_path / "x.nern")
    with_contents(tmp_path / "x.nern", change)
    with pytest.raises(NernError) as error:
        read_encoding(tmp_path / "x.nern")
    assert error.value.code == "bad_encoding"
    assert len(error.value.message) < 400


def test_a_large_network_in_a_small_file_is_read(tmp_path: Path) -> None:
    write_encoding(predicted(), tmp_path / "x.nern")
    with_contents(tmp_path / "x.nern", lambda contents: with_kept(contents, 10**8))
    found = read_encoding(tmp_path / "x.nern").kept["x"]
    assert isinstance(found, torch.Tensor)
    assert found.shape == (10**8,)
