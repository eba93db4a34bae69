from collections.abc import Sequence

import pytest

from nern_core.contract.errors import NernError
from nern_mlflow.checkpoint_files import Entry, ListFolder, find_checkpoint

# Files of MLflow's PyTorch flavour.
FLAVOUR = ["MLmodel", "conda.yaml", "data/model.pth", "data/pickle_module_info.txt", "requirements.txt"]
EXPORTED = ["MLmodel", "data/model.pt2"]


def folders(files: Sequence[str]) -> ListFolder:
    """Return a function that lists folders like MLflow."""

    def list_folder(path: str) -> list[Entry]:
        prefix = f"{path}/" if path else ""
        below = [file.removeprefix(prefix) for file in files if file.startswith(prefix)]
        return [
            Entry(name, any(file.startswith(f"{name}/") for file in below))
            for name in sorted({file.partition("/")[0] for file in below})
        ]

    return list_folder


def refused(files: Sequence[str], path: str = "") -> NernError:
    with pytest.raises(NernError) as error:
        find_checkpoint(folders(files), path)
    return error.value


@pytest.mark.parametrize(
    "name", ["model.safetensors", "model.pt", "state_dict.pth", "cifar10-resnet20.th", "last.ckpt"]
)
def test_the_only_checkpoint_is_found_in_any_folder(name: str) -> None:
    assert find_checkpoint(folders(["MLmodel", f"a/b/{name}", "a/notes.txt"])) == f"a/b/{name}"


def test_safetensors_are_preferred_to_torch_files_of_the_same_model() -> None:
    assert find_checkpoint(folders(["state_dict.pth", "model.safetensors"])) == "model.safetensors"


def test_a_state_dict_beside_a_pickled_module_is_taken() -> None:
    assert find_checkpoint(folders([*FLAVOUR, "extra_files/state_dict.pth"])) == "extra_files/state_dict.pth"


def test_a_file_with_the_name_of_a_pickled_module_may_be_a_state_dict() -> None:
    assert find_checkpoint(folders(["model.pth"])) == "model.pth"


def test_a_path_names_a_file_or_a_folder_to_look_in() -> None:
    files = ["first/model.safetensors", "second/model.safetensors", "second/notes.bin"]
    assert find_checkpoint(folders(files), "first/model.safetensors") == "first/model.safetensors"
    assert find_checkpoint(folders(files), "second") == "second/model.safetensors"
    assert find_checkpoint(folders(files), "second/notes.bin") == "second/notes.bin"


@pytest.mark.parametrize("path", ["", "data", "data/model.pth"])
def test_a_pickled_module_is_refused_with_how_to_log_a_state_dict(path: str) -> None:
    error = refused(FLAVOUR, path)
    assert error.code == "pickled_module"
    assert "'data/model.pth' is a whole module" in error.message
    assert 'mlflow.pytorch.log_state_dict(model.state_dict(), "checkpoint")' in error.message


def test_an_exported_program_is_refused_in_the_same_way() -> None:
    error = refused(EXPORTED)
    assert (error.code, "'data/model.pt2'" in error.message) == ("pickled_module", True)


def test_several_checkpoints_are_listed() -> None:
    error = refused(["model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors"])
    assert error.code == "several_checkpoints"
    assert "'model-00001-of-00002.safetensors', 'model-00002-of-00002.safetensors'" in error.message


def test_artifacts_without_a_checkpoint_are_told_what_is_looked_for() -> None:
    error = refused(["MLmodel", "model.pkl"])
    assert error.code == "no_checkpoint"
    assert ".safetensors, .pt, .pth, .th, .ckpt" in error.message


@pytest.mark.parametrize("path", ["model.pt", "other/model.safetensors"])
def test_a_path_that_is_not_there_is_told(path: str) -> None:
    assert refused(["model.safetensors"], path).code == "no_such_artifact"


@pytest.mark.parametrize("files", [[f"{n}/x" for n in range(65)], [f"{n}.txt" for n in range(2001)]])
def test_what_is_too_much_to_look_through_is_not(files: list[str]) -> None:
    assert refused(files).code == "too_many_artifacts"


def test_folders_without_an_end_are_not_followed() -> None:
    with pytest.raises(NernError, match="too many artifacts"):
        find_checkpoint(lambda path: [Entry("deeper", is_folder=True)])
