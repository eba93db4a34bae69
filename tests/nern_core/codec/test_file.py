import json
from pathlib import Path
from typing import Any

import pytest
import safetensors.torch
import torch
from safetensors import safe_open

from nern_core.codec import FORMAT_VERSION, Document, Encoding, measure_sizes, read_encoding, write_encoding
from nern_core.codec.checksum import seal
from nern_core.codec.document import Source
from nern_core.errors import NernError
from nern_core.kernels import select_layers
from nern_core.options import EncodeOptions, Permutation
from nern_core.predictor import Predictor, PredictorConfig


def encoding(permutation: Permutation = Permutation.CROSS_FILTER) -> Encoding:
    layers = select_layers({"conv.weight": torch.ones(4, 3, 3, 3)}, ["*"])
    config = PredictorConfig(hidden_size=8)
    torch.manual_seed(0)
    return Encoding(
        document=Document(
            architecture=None,
            options=EncodeOptions(permutation=permutation),
            predictor=config,
            permutation=permutation,
            scale=0.5,
            layers=layers,
            tied={"bn.again": "bn.weight"},
            tensor_order=("conv.weight", "bn.weight", "bn.again"),
            source=Source(sha256="0" * 64, bytes=1000),
        ),
        predictor={n: p.detach().half() for n, p in Predictor(config, layers).named_parameters()},
        orders=(None if permutation is Permutation.NONE else torch.arange(11, -1, -1),),
        kept={"bn.weight": torch.ones(4)},
    )


@pytest.mark.parametrize("permutation", [Permutation.NONE, Permutation.CROSS_FILTER])
def test_reading_gives_back_what_was_written(tmp_path: Path, permutation: Permutation) -> None:
    written = encoding(permutation)
    write_encoding(written, tmp_path / "x.nern")
    found = read_encoding(tmp_path / "x.nern")
    assert found.document == written.document
    for given, expected in ((found.predictor, written.predictor), (found.kept, written.kept)):
        assert {n: t.tolist() for n, t in given.items()} == {n: t.tolist() for n, t in expected.items()}
    assert [None if o is None else o.tolist() for o in found.orders] == [
        None if o is None else o.tolist() for o in written.orders
    ]


def test_the_file_is_a_safetensors_file_that_anybody_can_open(tmp_path: Path) -> None:
    write_encoding(encoding(), tmp_path / "x.nern")
    with safe_open(tmp_path / "x.nern", framework="pt") as file:
        assert "kept.bn.weight" in file.keys()  # noqa: SIM118 # not a mapping
        assert set(file.metadata()) == {"nern"}


def test_the_sizes_add_up_to_the_file(tmp_path: Path) -> None:
    path = tmp_path / "x.nern"
    write_encoding(encoding(), path)
    sizes = measure_sizes(path)
    assert sizes.kept == 16
    assert sizes.permutation == 4  # log2(12!) is 28.8 bits
    assert sizes.predictor == 2 * (241 * 8 + 3 * 9 * 8 + 9 * 9)
    assert sizes.file == path.stat().st_size == sizes.predictor + sizes.permutation + sizes.kept + sizes.header


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


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"permutation.0": None}, "a permutation is missing"),
        ({"permutation.0": torch.ones(6, dtype=torch.uint8)}, "cut short"),
        ({"kept.bn.weight": None}, "not the ones that it lists"),
        ({"predictor.first.weight": torch.ones(2, 2)}, "does not have the declared shape"),
    ],
)
def test_damage_is_named(tmp_path: Path, changes: dict[str, torch.Tensor | None], sentence: str) -> None:
    path = tmp_path / "x.nern"
    write_encoding(encoding(), path)
    rewritten(path, **changes)
    with pytest.raises(NernError, match=sentence) as error:
        read_encoding(path)
    assert error.value.code == "bad_encoding"


def with_document(path: Path, **changes: Any) -> None:
    with safe_open(path, framework="pt") as file:
        document = json.loads(file.metadata()["nern"]) | changes
    text = json.dumps(document, separators=(",", ":"))
    safetensors.torch.save_file(safetensors.torch.load_file(path), path, {"nern": text})
    seal(path)


def test_a_file_of_another_format_version_is_named(tmp_path: Path) -> None:
    path = tmp_path / "x.nern"
    write_encoding(encoding(), path)
    with_document(path, format_version=1)
    with pytest.raises(
        NernError, match=f"has the format 1, and this version of nern reads the format {FORMAT_VERSION}"
    ) as error:
        read_encoding(path)
    assert error.value.code == "unsupported_version"


@pytest.mark.parametrize(
    "change",
    [
        {"tied": {"bn.again": "nothing"}},
        {"tied": {}},
        {"layers": [{"name": "conv.weight", "shape": [4], "tile": None, "dtype": "float32"}]},
        {"format_version": "two"},
    ],
)
def test_a_document_that_does_not_fit_is_refused(tmp_path: Path, change: dict[str, Any]) -> None:
    path = tmp_path / "x.nern"
    write_encoding(encoding(), path)
    with_document(path, **change)
    with pytest.raises(NernError) as error:
        read_encoding(path)
    assert error.value.code == "bad_encoding"


def test_every_changed_byte_is_noticed(tmp_path: Path) -> None:
    path = tmp_path / "x.nern"
    write_encoding(encoding(), path)
    contents = bytearray(path.read_bytes())
    header = 8 + int.from_bytes(contents[:8], "little")
    # Behind the header all bytes are alike to the reader: every tenth of them will do.
    for place in [*range(header), *range(header, len(contents), 10)]:
        change = (0x01, 0x20, 0xFF)[place % 3]
        contents[place] ^= change
        path.write_bytes(contents)
        with pytest.raises(NernError):
            read_encoding(path)
        contents[place] ^= change


def test_every_truncation_is_noticed(tmp_path: Path) -> None:
    path = tmp_path / "x.nern"
    write_encoding(encoding(), path)
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
