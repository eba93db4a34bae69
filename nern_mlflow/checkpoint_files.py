"""Find the checkpoint among the artifacts of a model, by file names; the bytes are checked later.

A model of MLflow's PyTorch flavour is a pickled module or an exported program; opening either runs its code. Only a
state dict, beside it or alone, is accepted.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from nern_core.contract.errors import NernError, quoted

_SAFETENSORS = ".safetensors"
_SUFFIXES = (_SAFETENSORS, ".pt", ".pth", ".th", ".ckpt")
_EXPORTED_PROGRAM = ".pt2"
# MLflow writes this file beside `model.pth`, which is then a whole module.
_PICKLED_MODULE, _SIGN_OF_PICKLED_MODULE = "model.pth", "pickle_module_info.txt"
_MOST_FOLDERS = 64
_MOST_FILES = 2000
_MOST_NAMES = 5
HOW_TO_LOG = (
    'Log its state dict: torch.save(model.state_dict(), "state_dict.pth") and log_model(…, '
    'extra_files=["state_dict.pth"]); or mlflow.pytorch.log_state_dict(model.state_dict(), "checkpoint"), and name '
    "runs:/RUN/checkpoint"
)


@dataclass(frozen=True, slots=True)
class Entry:
    """A file or a subfolder of a folder, by its name."""

    name: str
    is_folder: bool


ListFolder = Callable[[str], Sequence[Entry]]


def find_checkpoint(list_folder: ListFolder, path: str = "") -> str:
    """Return the path of the checkpoint: the file `path`, or the one below that folder; an empty path is the root.

    `list_folder` lists a folder; for anything else it returns nothing. Raises `NernError` with the code
    `no_such_artifact`, `pickled_module`, `several_checkpoints`, `no_checkpoint` or `too_many_artifacts`.
    """
    if path:
        folder, _, name = path.rpartition("/")
        entries = {entry.name: entry for entry in list_folder(folder)}
        if name not in entries:
            raise NernError("no_such_artifact", f"There is no artifact {quoted(path)}; check its name in MLflow.")
        if not entries[name].is_folder:
            if name == _PICKLED_MODULE and _SIGN_OF_PICKLED_MODULE in entries:
                raise _pickled(path)
            return path
    return _choose(sorted(_walk(list_folder, path)))


def _walk(list_folder: ListFolder, root: str) -> Iterator[str]:
    """Yield all files below a folder."""
    folders, visited, files = [root], 0, 0
    while folders:
        folder = folders.pop()
        visited += 1
        for entry in list_folder(folder):
            path = f"{folder}/{entry.name}" if folder else entry.name
            if entry.is_folder:
                folders.append(path)
            else:
                files += 1
                yield path
        if visited + len(folders) > _MOST_FOLDERS or files > _MOST_FILES:
            raise NernError(
                "too_many_artifacts",
                "There are too many artifacts to search; name the file, such as models:/NAME/VERSION/PATH.",
            )


def _choose(files: Sequence[str]) -> str:
    """Choose the checkpoint among files; a safetensors file is preferred to torch files of the same model."""
    pickled = [
        file
        for file in files
        if _name(file) == _PICKLED_MODULE and f"{file.removesuffix(_PICKLED_MODULE)}{_SIGN_OF_PICKLED_MODULE}" in files
    ]
    candidates = [file for file in files if file.endswith(_SUFFIXES) and file not in pickled]
    preferred = [file for file in candidates if file.endswith(_SAFETENSORS)] or candidates
    if len(preferred) == 1:
        return preferred[0]
    if preferred:
        shown = ", ".join(map(quoted, preferred[:_MOST_NAMES])) + (", …" if len(preferred) > _MOST_NAMES else "")
        raise NernError(
            "several_checkpoints",
            f"There are several checkpoints ({shown}); append one to the model or run.",
        )
    whole = pickled + [file for file in files if file.endswith(_EXPORTED_PROGRAM)]
    if whole:
        raise _pickled(whole[0])
    raise NernError(
        "no_checkpoint",
        f"There is no checkpoint among these artifacts: no file ends in {', '.join(_SUFFIXES)}. {HOW_TO_LOG}.",
    )


def _pickled(path: str) -> NernError:
    return NernError(
        "pickled_module",
        f"{quoted(path)} is a whole module. Opening it would run code from the file, which is not allowed. "
        f"{HOW_TO_LOG}.",
    )


def _name(path: str) -> str:
    return path.rpartition("/")[2]
