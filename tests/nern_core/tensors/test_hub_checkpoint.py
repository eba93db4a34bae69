"""Folders of the hub are read whole, encoded, and written as they were."""

import hashlib
import json
from pathlib import Path

import pytest
import torch
from torch import Tensor

from nern_core.analysis.comparison import open_comparison
from nern_core.contract.errors import NernError
from nern_core.contract.options import EncodeOptions
from nern_core.decoder import decode
from nern_core.encoder import encode
from nern_core.tensors.checkpoint import read_checkpoint
from nern_core.tensors.digest import digest_checkpoint, file_sha256
from nern_core.tensors.hub_writing import write_hub_folder
from tests.hub_folders import make_folder, zipped

CONFIG = {"architectures": ["BertModel"], "hidden_size": 16}


def some_tensors() -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(0)
    return {
        "model.layers.2.weight": torch.randn(32, 32, generator=generator),
        "model.layers.10.weight": torch.randn(32, 32, generator=generator).bfloat16(),
        "model.norm.weight": torch.randn(32, generator=generator).half(),
        "model.steps": torch.tensor([True, False]),
    }


@pytest.mark.parametrize("shards", [1, 3])
def test_folder_and_archive_are_read_with_every_bit(tmp_path: Path, shards: int) -> None:
    tensors = some_tensors()
    folder = make_folder(tmp_path / "net", tensors, shards=shards, config=CONFIG)
    for path in (folder, zipped(folder)):
        checkpoint = read_checkpoint(path)
        assert list(checkpoint.tensors) == list(tensors)
        assert checkpoint.config == CONFIG
        for name, tensor in tensors.items():
            assert checkpoint.tensors[name].dtype == tensor.dtype
            assert torch.equal(checkpoint.tensors[name], tensor)


def test_a_folder_comes_back_with_its_names_dtypes_and_configuration(tmp_path: Path) -> None:
    tensors = {f"module.{name}": tensor for name, tensor in some_tensors().items()}
    encode(make_folder(tmp_path / "net", tensors, shards=2, config=CONFIG), tmp_path / "x.nern")
    (tmp_path / "back").mkdir()
    names = write_hub_folder(decode(tmp_path / "x.nern"), tmp_path / "back")
    assert names == ["model.safetensors", "config.json"]
    back = read_checkpoint(tmp_path / "back")
    assert {back.file_names.get(name, name): tensor.dtype for name, tensor in back.tensors.items()} == {
        name: tensor.dtype for name, tensor in tensors.items()
    }
    assert back.config == CONFIG


def test_shards_are_written_with_their_index(tmp_path: Path) -> None:
    checkpoint = read_checkpoint(make_folder(tmp_path / "net", some_tensors()))
    (tmp_path / "back").mkdir()
    names = write_hub_folder(checkpoint, tmp_path / "back", shard_bytes=4100)
    assert names == [
        "model-00001-of-00002.safetensors",
        "model-00002-of-00002.safetensors",
        "model.safetensors.index.json",
    ]
    assert json.loads((tmp_path / "back" / names[-1]).read_text())["metadata"] == {"total_size": 6210}
    back = read_checkpoint(tmp_path / "back")
    assert all(torch.equal(back.tensors[name], tensor) for name, tensor in checkpoint.tensors.items())


def test_the_digest_of_shards_is_that_of_the_list_of_their_digests(tmp_path: Path) -> None:
    folder = make_folder(tmp_path / "net", some_tensors(), shards=2)
    shards = sorted(folder.glob("*.safetensors"))
    lines = "".join(f"{file_sha256(shard)}  {shard.name}\n" for shard in shards)
    found = digest_checkpoint(folder)
    assert found.sha256 == hashlib.sha256(lines.encode()).hexdigest()
    assert found.bytes == sum(shard.stat().st_size for shard in shards)


def test_the_digest_of_a_folder_with_one_file_is_that_of_the_file(tmp_path: Path) -> None:
    folder = make_folder(tmp_path / "net", some_tensors())
    assert digest_checkpoint(folder).sha256 == file_sha256(folder / "model.safetensors")


def test_an_encoding_is_compared_with_its_own_folder_only(tmp_path: Path) -> None:
    folder = make_folder(tmp_path / "net", some_tensors(), shards=2)
    encode(folder, tmp_path / "x.nern")
    comparison = open_comparison(folder, tmp_path / "x.nern")
    assert list(comparison.original.tensors) == list(comparison.decoded.tensors)
    other = make_folder(
        tmp_path / "other", {name: tensor.float() + 1 for name, tensor in some_tensors().items()}, shards=2
    )
    with pytest.raises(NernError, match="'x.nern' was not made from 'other'"):
        open_comparison(other, tmp_path / "x.nern")


def test_a_large_configuration_is_left_to_its_owner(tmp_path: Path) -> None:
    config = {"id2label": {str(number): f"label {number}" for number in range(2000)}}
    encode(make_folder(tmp_path / "net", some_tensors(), config=config), tmp_path / "x.nern", EncodeOptions())
    assert decode(tmp_path / "x.nern").config is None


@pytest.mark.parametrize("text", ["[]", "{", '{"a": NaN}', "[" * 100_000])
def test_a_configuration_that_is_no_json_object_is_refused(tmp_path: Path, text: str) -> None:
    folder = make_folder(tmp_path / "net", some_tensors())
    (folder / "config.json").write_text(text)
    with pytest.raises(NernError, match=r"The config.json is not a JSON object") as error:
        read_checkpoint(folder)
    assert error.value.code == "bad_config"
