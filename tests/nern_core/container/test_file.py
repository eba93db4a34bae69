import dataclasses
import json
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import safetensors.torch
import torch
from pydantic import JsonValue
from safetensors import safe_open

from nern_core.container.document import Document, Source
from nern_core.container.encoding import Encoding
from nern_core.container.kept import RoundedTensor
from nern_core.contract.errors import NernError
from nern_core.contract.options import EncodeOptions, Permutation
from nern_core.formats.checksum import seal
from nern_core.formats.encoding_structure import NEWEST_VERSION
from nern_core.representations.files import measure_sizes, read_encoding, write_encoding
from nern_core.representations.predicted.predictor import Predictor, PredictorConfig
from nern_core.representations.predicted.weights import PredictedWeights, PredictorDescription, predicted_weights
from nern_core.representations.quantized.coded_layer import coded_layer
from nern_core.representations.quantized.descriptions import describe_quantized
from nern_core.representations.quantized.weights import IntegerWeights, StoredWeights
from nern_core.tensors.kernels import select_layers

LAYERS = select_layers({"conv.weight": torch.ones(4, 3, 3, 3)}, ["*"])


def encoding_of(representation: dict[str, JsonValue], weights: PredictedWeights | IntegerWeights) -> Encoding[Any]:
    return Encoding(
        document=Document(
            architecture=None,
            options=EncodeOptions(),
            representation=representation,
            layers=LAYERS,
            tied={"bn.again": "bn.weight"},
            tensor_order=("conv.weight", "bn.weight", "bn.bias", "bn.again"),
            source=Source(sha256="0" * 64, bytes=1000),
        ),
        weights=weights,
        kept={
            "bn.weight": torch.tensor([1.0, 2.0, 3.0, 4.0]),
            "bn.bias": RoundedTensor(torch.tensor([1, -2, 3, 127], dtype=torch.int8), -20, torch.float32),
        },
    )


def predicted(permutation: Permutation = Permutation.CROSS_FILTER) -> Encoding[Any]:
    config = PredictorConfig(hidden_size=8)
    torch.manual_seed(0)
    parameters = {n: p.detach().half() for n, p in Predictor(config, LAYERS).named_parameters()}
    order = None if permutation is Permutation.NONE else torch.arange(11, -1, -1)
    description = PredictorDescription(predictor=config, permutation=permutation, scale=0.5)
    return encoding_of(description.as_json(), PredictedWeights(description, parameters, (order,)))


def quantized() -> Encoding[Any]:
    integers = torch.arange(-54, 54, dtype=torch.int32).view(4, 3, 9)
    exponents = [torch.tensor(table, dtype=torch.int32) for table in ([-30, -20, -25, -28], [0, 1, 2], [0] * 9)]
    layer = coded_layer(integers, (exponents[0], exponents[1], exponents[2]), LAYERS[0], is_transformed=True)
    return encoding_of(describe_quantized(), IntegerWeights((layer,)))


ENCODINGS = {
    "no permutation": predicted(Permutation.NONE),
    "cross-filter": predicted(),
    "quantized": quantized(),
}


@pytest.mark.parametrize("written", ENCODINGS.values(), ids=ENCODINGS.keys())
def test_reading_gives_back_what_was_written(tmp_path: Path, written: Encoding[Any]) -> None:
    write_encoding(written, tmp_path / "x.nern")
    found = read_encoding(tmp_path / "x.nern")
    assert found.document == written.document
    assert _plain(found.weights) == _plain(written.weights)
    assert _plain(found.kept) == _plain(written.kept)


def _plain(value: Any) -> Any:
    """Convert tensors and arrays to lists at any depth of an encoding."""
    if isinstance(value, torch.Tensor | np.ndarray):
        return (value.dtype, value.tolist())
    if isinstance(value, IntegerWeights | StoredWeights):
        return value.packed().streams
    if dataclasses.is_dataclass(value):
        return [_plain(getattr(value, field.name)) for field in dataclasses.fields(value)]
    if isinstance(value, dict):
        return {key: _plain(part) for key, part in value.items()}
    return [_plain(part) for part in value] if isinstance(value, tuple) else value


def test_the_file_is_a_safetensors_file_that_anybody_can_open(tmp_path: Path) -> None:
    write_encoding(predicted(), tmp_path / "x.nern")
    with safe_open(tmp_path / "x.nern", framework="pt") as file:
        assert set(file.keys()) == {"document", "streams", "predictor", "kept.float32", "kept.int8"}
        assert set(file.metadata()) == {"nern"}


def test_the_sizes_add_up_to_the_file(tmp_path: Path) -> None:
    path = tmp_path / "x.nern"
    write_encoding(predicted(), path)
    sizes = measure_sizes(path)
    assert sizes.kept == 16 + 4
    assert sizes.permutation == 4  # log2(12!) is 28.8 bits
    assert sizes.predictor == 2 * (241 * 8 + 3 * 9 * 8 + 9 * 9)
    assert sizes.integers == 0
    assert sizes.file == path.stat().st_size == sizes.predictor + sizes.permutation + sizes.kept + sizes.header


def test_the_sizes_of_quantized_weights_add_up_too(tmp_path: Path) -> None:
    path = tmp_path / "x.nern"
    write_encoding(quantized(), path)
    sizes = measure_sizes(path)
    assert (sizes.predictor, sizes.permutation) == (0, 0)
    assert 90 < sizes.integers < 250
    assert sizes.file == sizes.integers + sizes.kept + sizes.header


def test_a_quantized_file_says_that_it_has_no_predictor() -> None:
    with pytest.raises(NernError, match="not a predictor") as error:
        predicted_weights(quantized())
    assert error.value.code == "no_predictor"


def rewritten(path: Path, **changes: torch.Tensor | None) -> None:
    with safe_open(path, framework="pt") as file:
        metadata = file.metadata()
    tensors = safetensors.torch.load_file(path)
    for name, tensor in changes.items():
        if tensor is None:
            del tensors[name]
        else:
            tensors[name] = tensor
    safetensors.torch.save_file(tensors, path, metadata)
    seal(path)


def test_a_file_without_a_document_is_a_checkpoint(tmp_path: Path) -> None:
    path = tmp_path / "x.nern"
    write_encoding(predicted(), path)
    rewritten(path, document=None)
    with pytest.raises(NernError, match="is a checkpoint without `nern` metadata") as error:
        read_encoding(path)
    assert error.value.code == "not_an_encoding"


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"document": torch.ones(9, dtype=torch.uint8)}, "its document cannot be read"),
        ({"streams": None}, "do not have the declared lengths"),
        ({"streams": torch.ones(5, dtype=torch.uint8)}, "do not have the declared lengths"),
        ({"kept.float32": None}, "do not match its list of tensors"),
        ({"kept.float32": torch.ones(5)}, "do not match its list of tensors"),
        ({"predictor": None}, "does not have the declared shape"),
        ({"predictor": torch.ones(2, 2)}, "does not have the declared shape"),
        ({"predictor": torch.ones(2225, dtype=torch.int64)}, "are of another dtype"),
        ({"kept.float32": torch.ones(4, dtype=torch.int64)}, "do not match its list of tensors"),
        ({"kept.float32": torch.ones(4, 3)}, "do not match its list of tensors"),
        ({"kept.float32": torch.tensor(1.0)}, "do not match its list of tensors"),
        ({"kept.int8": torch.full((4,), torch.nan)}, "do not match its list of tensors"),
        ({"kept.int8": None, "zstd.int8": torch.ones(1, 4, dtype=torch.uint8)}, "do not match its list of tensors"),
        ({"kept.text": torch.ones(0)}, "do not match its list of tensors"),
        ({"streams": torch.ones(4, dtype=torch.bfloat16)}, "a tensor of bytes has another dtype or shape"),
        ({"streams": torch.ones(2, 2, dtype=torch.uint8)}, "a tensor of bytes has another dtype or shape"),
    ],
)
def test_damage_is_named(tmp_path: Path, changes: dict[str, torch.Tensor | None], sentence: str) -> None:
    path = tmp_path / "x.nern"
    write_encoding(predicted(), path)
    rewritten(path, **changes)
    with pytest.raises(NernError, match=sentence) as error:
        read_encoding(path)
    assert error.value.code == "bad_encoding"


def with_contents(path: Path, change: Callable[[dict[str, Any]], None]) -> None:
    text = bytes(safetensors.torch.load_file(path)["document"].tolist())
    contents = json.loads(zlib.decompress(text))
    change(contents)
    changed = zlib.compress(json.dumps(contents).encode())
    rewritten(path, document=torch.tensor(list(changed), dtype=torch.uint8))


def test_a_file_of_another_format_version_is_named(tmp_path: Path) -> None:
    path = tmp_path / "x.nern"
    write_encoding(predicted(), path)
    metadata = json.dumps({"checksum": "0" * 64, "format_version": 1}, separators=(",", ":"))
    safetensors.torch.save_file(safetensors.torch.load_file(path), path, {"nern": metadata})
    with pytest.raises(NernError, match=f"has format 1, but .* reads 4 to {NEWEST_VERSION}") as error:
        read_encoding(path)
    assert error.value.code == "unsupported_version"


@pytest.mark.parametrize(
    "change",
    [
        lambda contents: contents["document"].update(tied={"bn.again": "nothing"}),
        lambda contents: contents["document"].update(tied={}),
        lambda contents: contents["document"]["layers"][0].update(shape=[4]),
        lambda contents: contents["document"]["layers"][0].update(shape=[5, 3, 3, 3]),
        lambda contents: contents["document"].update(representation={"kind": "quantized"}),
        lambda contents: contents["kept"][0].update(dtype="string"),
        lambda contents: contents["kept"][0].update(shape=[5]),
        lambda contents: contents.update(streams=[]),
        lambda contents: contents.update(streams=[6]),
        lambda contents: contents.update(more=1),
    ],
)
def test_a_document_that_does_not_fit_is_refused(tmp_path: Path, change: Callable[[dict[str, Any]], None]) -> None:
    path = tmp_path / "x.nern"
    write_encoding(predicted(), path)
    with_contents(path, change)
    with pytest.raises(NernError) as error:
        read_encoding(path)
    assert error.value.code == "bad_encoding"


def with_file_names(**others: str) -> Callable[[dict[str, Any]], None]:
    return lambda contents: contents["document"].update(file_names={"prefix": "", "others": others})


def with_name(name: str) -> Callable[[dict[str, Any]], None]:
    """Name the only represented tensor."""

    def change(contents: dict[str, Any]) -> None:
        contents["document"]["layers"][0]["name"] = contents["document"]["tensor_order"][0] = name

    return change


@pytest.mark.parametrize(
    "change",
    [
        with_file_names(**{"bn.again": "bn.weight"}),
        with_file_names(**{"bn.again": "x", "bn.bias": "x"}),
        with_file_names(**{"bn.again": ""}),
        with_file_names(**{"bn.again": "x\n"}),
        lambda contents: contents["document"].update(extra_states={"bn.weight": 1}),
        lambda contents: contents["document"].update(extra_states={"": 1}),
        lambda contents: contents["document"]["tensor_order"].append("bn.weight"),
        lambda contents: contents["document"].update(file_names={"prefix": "x" * 510, "others": {}}),
        with_name(""),
        with_name("conv\x1b[31m"),
        with_name("x" * 513),
    ],
    ids=[
        *("given as another", "given twice", "given as empty", "given with a line end", "extra state over a tensor"),
        *("empty extra state", "listed twice", "long prefix", "empty", "control characters", "long"),
    ],
)
def test_names_that_no_state_dict_has_are_refused(tmp_path: Path, change: Callable[[dict[str, Any]], None]) -> None:
    path = tmp_path / "x.nern"
    write_encoding(predicted(), path)
    with_contents(path, change)
    with pytest.raises(NernError, match="its tensors do not match its list of tensors") as error:
        read_encoding(path)
    assert error.value.code == "bad_encoding"


def test_two_tensors_may_exchange_their_names_in_the_file(tmp_path: Path) -> None:
    path = tmp_path / "x.nern"
    write_encoding(predicted(), path)
    with_contents(path, with_file_names(**{"bn.weight": "bn.bias", "bn.bias": "bn.weight"}))
    assert read_encoding(path).document.file_names.others == {"bn.weight": "bn.bias", "bn.bias": "bn.weight"}


@pytest.mark.parametrize("written", [predicted(), quantized()], ids=["predicted", "quantized"])
def test_every_changed_byte_is_noticed(tmp_path: Path, written: Encoding[Any]) -> None:
    path = tmp_path / "x.nern"
    write_encoding(written, path)
    contents = bytearray(path.read_bytes())
    for place in range(len(contents)):
        change = (0x01, 0x20, 0xFF)[place % 3]
        contents[place] ^= change
        path.write_bytes(contents)
        with pytest.raises(NernError):
            read_encoding(path)
        contents[place] ^= change


@pytest.mark.parametrize("written", [predicted(), quantized()], ids=["predicted", "quantized"])
def test_every_truncation_is_noticed(tmp_path: Path, written: Encoding[Any]) -> None:
    path = tmp_path / "x.nern"
    write_encoding(written, path)
    contents = path.read_bytes()
    for length in range(len(contents)):
        path.write_bytes(contents[:length])
        with pytest.raises(NernError):
            read_encoding(path)


def test_other_safetensors_files_are_refused(tmp_path: Path) -> None:
    safetensors.torch.save_file({"w": torch.ones(1)}, tmp_path / "x.nern")
    with pytest.raises(NernError, match="not a .nern file"):
        read_encoding(tmp_path / "x.nern")


def test_other_files_are_refused(tmp_path: Path) -> None:
    (tmp_path / "x.nern").write_bytes(b"something else entirely")
    with pytest.raises(NernError, match="not a .nern file") as error:
        read_encoding(tmp_path / "x.nern")
    assert error.value.code == "not_an_encoding"
