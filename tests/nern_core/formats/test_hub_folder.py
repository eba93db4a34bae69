"""The structure of folders of the hub, and those that are refused."""

import json
import zipfile
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file

from nern_core.contract.errors import NernError
from nern_core.formats.checkpoint_format import CheckpointFormat
from nern_core.formats.checkpoint_structure import read_structure, structure_of
from nern_core.formats.hub_folder import bytes_of_checkpoint, hub_folder_at
from tests.hub_folders import make_folder, zipped


def refusal(path: Path) -> NernError:
    with pytest.raises(NernError) as error:
        read_structure(path)
    assert error.value.message.endswith(".")
    return error.value


def test_a_folder_its_index_and_its_archive_have_the_tensors_of_all_shards(tmp_path: Path) -> None:
    folder = make_folder(tmp_path / "net", {"a.weight": torch.ones(4, 4), "b.weight": torch.ones(2).half()}, shards=2)
    for path in (folder, folder / "model.safetensors.index.json", zipped(folder)):
        structure = read_structure(path)
        assert structure.format is CheckpointFormat.HUB_FOLDER
        assert {name: (claim.dtype, claim.shape) for name, claim in structure.tensors.items()} == {
            "a.weight": ("F32", (4, 4)),
            "b.weight": ("F16", (2,)),
        }


def test_the_bytes_of_a_folder_are_those_of_its_weights(tmp_path: Path) -> None:
    folder = make_folder(tmp_path / "net", {"a": torch.ones(4), "b": torch.ones(4)}, shards=2)
    assert bytes_of_checkpoint(folder) == sum(path.stat().st_size for path in folder.glob("*.safetensors"))


def test_one_file_is_preferred_to_an_index_as_in_transformers(tmp_path: Path) -> None:
    folder = make_folder(tmp_path / "net", {"shard": torch.ones(4), "other": torch.ones(4)}, shards=2)
    save_file({"whole": torch.ones(4)}, folder / "model.safetensors")
    assert list(read_structure(folder).tensors) == ["whole"]


def test_weights_of_another_name_are_taken_if_they_are_the_only_ones(tmp_path: Path) -> None:
    save_file({"a": torch.ones(4)}, tmp_path / "adapter_model.safetensors")
    assert list(read_structure(tmp_path).tensors) == ["a"]
    save_file({"b": torch.ones(4)}, tmp_path / "other.safetensors")
    error = refusal(tmp_path)
    assert "several checkpoints, 'adapter_model.safetensors', 'other.safetensors'; name one of them" in error.message


def test_a_torch_file_of_a_folder_is_read(tmp_path: Path) -> None:
    torch.save({"a": torch.ones(4, 4)}, tmp_path / "pytorch_model.bin")
    assert list(read_structure(tmp_path).tensors) == ["a"]


def test_a_folder_without_weights_is_told_with_what_to_name(tmp_path: Path) -> None:
    error = refusal(tmp_path)
    assert error.code == "not_a_checkpoint"
    assert "holds no model.safetensors and no model.safetensors.index.json; name the file" in error.message


@pytest.mark.parametrize(
    ("index", "sentence"),
    [
        ({"weight_map": {"a": "../secret.safetensors"}}, "'../secret.safetensors', which is no name of a file in its"),
        ({"weight_map": {"a": "/etc/passwd"}}, "'/etc/passwd', which is no name of a file in its folder"),
        ({"weight_map": {"a": ".hidden.safetensors"}}, "which is no name of a file in its folder"),
        ({"weight_map": {"a": "x/y.safetensors"}}, "which is no name of a file in its folder"),
        ({"weight_map": {"a": "absent.safetensors"}}, "1 of 1 files of the index are missing, such as 'absent.safet"),
        ({"weight_map": {"z": "one.safetensors"}}, "'one.safetensors' has no tensor 'z', which the index names"),
        ({"weight_map": {"a": "one.safetensors"}}, "the index does not name the tensor 'b'"),
        ({"weight_map": {}}, "the index names 0 files"),
        ({"weight_map": {"a": 1}}, "does not map the names of tensors to files"),
        ({"weight_map": ["a"]}, "does not map the names of tensors to files"),
        ([], "does not map the names of tensors to files"),
    ],
)
def test_an_index_names_plain_files_and_all_their_tensors(tmp_path: Path, index: Any, sentence: str) -> None:
    save_file({"a": torch.ones(4), "b": torch.ones(4)}, tmp_path / "one.safetensors")
    (tmp_path / "model.safetensors.index.json").write_text(json.dumps(index))
    error = refusal(tmp_path / "model.safetensors.index.json")
    assert error.code == "unreadable_checkpoint"
    assert sentence in error.message


def test_a_tensor_in_two_files_is_refused(tmp_path: Path) -> None:
    for name in ("one", "two"):
        save_file({"a": torch.ones(4), name: torch.ones(4)}, tmp_path / f"{name}.safetensors")
    index = {"a": "one.safetensors", "one": "one.safetensors", "two": "two.safetensors"}
    (tmp_path / "model.safetensors.index.json").write_text(json.dumps({"weight_map": index}))
    assert "the tensor 'a' is in 'one.safetensors' and in 'two.safetensors'" in refusal(tmp_path).message


def test_a_shard_that_is_a_pointer_is_named(tmp_path: Path) -> None:
    folder = make_folder(tmp_path / "net", {"a": torch.ones(4), "b": torch.ones(4)}, shards=2)
    shard = sorted(folder.glob("*.safetensors"))[1]
    shard.write_bytes(b"version https://git-lfs.github.com/spec/v1\noid sha256:4d7a2146\n")
    assert refusal(folder).message.startswith(f"{shard.name}: The file is a pointer of Git LFS")


def test_a_compressed_archive_is_told_with_the_command_that_makes_another(tmp_path: Path) -> None:
    folder = make_folder(tmp_path / "net", {"a": torch.ones(4)})
    with zipfile.ZipFile(tmp_path / "net.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.write(folder / "model.safetensors", "net/model.safetensors")
    error = refusal(tmp_path / "net.zip")
    assert "is compressed; zip the folder without compression (`zip -0 -r`)" in error.message


def test_an_archive_may_hold_the_folder_itself_and_folders_within_it(tmp_path: Path) -> None:
    folder = make_folder(tmp_path / "net", {"a": torch.ones(4)})
    with zipfile.ZipFile(tmp_path / "net.zip", "w") as archive:
        archive.mkdir("net")
        archive.write(folder / "model.safetensors", "net/model.safetensors")
        archive.writestr("net/1_Pooling/config.json", "{}")
    assert list(read_structure(tmp_path / "net.zip").tensors) == ["a"]


def test_an_archive_of_two_folders_with_weights_is_refused(tmp_path: Path) -> None:
    folder = make_folder(tmp_path / "net", {"a": torch.ones(4)})
    with zipfile.ZipFile(tmp_path / "net.zip", "w") as archive:
        for name in ("unet", "vae"):
            archive.write(folder / "model.safetensors", f"{name}/model.safetensors")
    assert "weights in several folders, 'unet', 'vae'; zip one of them" in refusal(tmp_path / "net.zip").message


def test_an_entry_of_an_archive_is_read_within_its_bounds(tmp_path: Path) -> None:
    folder = make_folder(tmp_path / "net", {"a": torch.ones(4)})
    content = (folder / "model.safetensors").read_bytes()
    with zipfile.ZipFile(tmp_path / "net.zip", "w") as archive:
        archive.writestr("model.safetensors", content[:-4])
        archive.writestr("config.json", "{}" + " " * 100)
    with (tmp_path / "net.zip").open("rb") as file, pytest.raises(NernError, match="12 bytes of data"):
        structure_of(file)


def test_names_of_an_archive_lead_nowhere(tmp_path: Path) -> None:
    folder = make_folder(tmp_path / "net", {"a": torch.ones(4)})
    with zipfile.ZipFile(tmp_path / "net.zip", "w") as archive:
        archive.write(folder / "model.safetensors", "../../model.safetensors")
    assert list(read_structure(tmp_path / "net.zip").tensors) == ["a"]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["net", "net.zip"]


@pytest.mark.parametrize(
    "text",
    [
        "[]",
        "{",
        '{"a": NaN}',
        '{"a": 1e999}',
        '{"a": "\\ud800"}',
        '{"\\ud800": 1}',
        '{"a": ' + "[" * 100 + "]" * 100 + "}",
        "[" * 100_000,
        '{"a": "' + "x" * 2**20 + '"}',
    ],
)
def test_a_configuration_that_cannot_be_written_again_is_refused(tmp_path: Path, text: str) -> None:
    folder = make_folder(tmp_path / "x", {"a": torch.ones(2)})
    (folder / "config.json").write_text(text)
    found = hub_folder_at(folder)
    assert found is not None
    with pytest.raises(NernError, match="not a JSON object of at most 1 MiB and 100 levels") as error:
        found.config()
    assert error.value.code == "bad_config"


def test_a_configuration_of_ninety_levels_is_read(tmp_path: Path) -> None:
    config = {"a": json.loads("[" * 89 + "]" * 89)}
    found = hub_folder_at(make_folder(tmp_path / "x", {"a": torch.ones(2)}, config=config))
    assert found is not None
    assert found.config() == config
