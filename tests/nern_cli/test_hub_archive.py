"""Folders of the hub on the command line, and the archive in which they are sent."""

import json
import zipfile
from pathlib import Path

import pytest
import torch

from nern_cli.hub_archive import sendable
from nern_core.tensors.checkpoint import read_checkpoint
from nern_core.tensors.digest import file_sha256
from tests.hub_folders import make_folder
from tests.nern_cli.conftest import Run


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder with two shards, a configuration, a tokenizer, and files that nobody needs."""
    generator = torch.Generator().manual_seed(0)
    tensors = {name: torch.randn(64, 64, generator=generator) for name in ("a.weight", "b.weight")}
    made = make_folder(tmp_path / "net", tensors, shards=2, config={"architectures": ["BertModel"]})
    for name in ("tokenizer.json", "README.md", "modeling_net.py", "training_args.bin"):
        (made / name).write_text("{}")
    return made


def test_weights_configuration_and_tokenizer_are_sent_without_compression(folder: Path) -> None:
    with sendable(folder) as archive:
        with zipfile.ZipFile(archive) as written:
            assert {info.filename: info.compress_type for info in written.infolist()} == dict.fromkeys(
                (
                    "config.json",
                    "model-00001-of-00002.safetensors",
                    "model-00002-of-00002.safetensors",
                    "model.safetensors.index.json",
                    "tokenizer.json",
                ),
                zipfile.ZIP_STORED,
            )
        sent = read_checkpoint(archive)
    assert sent.config == {"architectures": ["BertModel"]}
    assert all(torch.equal(sent.tensors[name], tensor) for name, tensor in read_checkpoint(folder).tensors.items())


def test_the_same_folder_gives_the_same_archive(folder: Path) -> None:
    with sendable(folder) as first, sendable(folder / "model.safetensors.index.json") as second:
        assert first.name == second.name == "net.zip"
        assert file_sha256(first) == file_sha256(second)


def test_a_file_is_sent_itself(folder: Path) -> None:
    shard = folder / "model-00001-of-00002.safetensors"
    with sendable(shard) as sent:
        assert sent == shard


def test_a_service_takes_a_folder_under_its_name(nern: Run, folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert nern("submit", str(folder), "--json") == 0
    assert json.loads(capsys.readouterr().out)["name"] == "net"


def test_inspect_and_encode_take_a_folder(nern: Run, folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert nern("inspect", str(folder), "--json") == 0
    assert json.loads(capsys.readouterr().out)["weights"] == 2 * 64 * 64
    assert nern("encode", str(folder), "-o", str(folder / "x.nern")) == 0
    assert nern("report", str(folder), str(folder / "x.nern"), "-o", str(folder / "x.html")) == 0
