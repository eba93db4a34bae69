"""Folders that a job may name as its data set."""

from http import HTTPStatus
from pathlib import Path

from app.kit.problems import FieldProblem, Problem
from app.settings import Settings

_SPLITS = ("train.npz", "test.npz")


def resolve_folder(dataset: str, settings: Settings) -> str:
    """Return the absolute folder that a job's `dataset` option names.

    With `dataset_roots` set, a name is relative to one of them and must stay below it. The embedded mode without roots
    accepts any local folder, relative to the service's working directory. Raises `Problem` (`unknown-dataset`, both for
    a missing folder and for one that is not allowed).
    """
    folder = _find(dataset, settings)
    if folder is None:
        detail = (
            f"you have not uploaded a data set '{dataset}', and there is no folder of this name with train.npz and "
            f"test.npz {_where(settings)}."
        )
        raise Problem(
            HTTPStatus.UNPROCESSABLE_ENTITY,
            "unknown-dataset",
            f"dataset: {detail}",
            errors=[FieldProblem(field="dataset", detail=detail)],
        )
    return str(folder)


def offers(name: str, settings: Settings) -> bool:
    """Return whether the operator offers a data set of this name to everybody."""
    return bool(settings.dataset_roots) and _find(name, settings) is not None


def _find(dataset: str, settings: Settings) -> Path | None:
    roots = [root.resolve() for root in settings.dataset_roots]
    anywhere = [Path(dataset)] if settings.embedded else []
    candidates = [root / dataset for root in roots] if roots else anywhere
    for path in filter(None, map(_resolved, candidates)):
        if not roots or any(path.is_relative_to(root) for root in roots):
            return path
    return None


def _where(settings: Settings) -> str:
    if settings.dataset_roots:
        return "among the data sets that this service offers; ask its operator for their names"
    return "on this machine" if settings.embedded else "here: this service offers no data sets of its own"


def _resolved(folder: Path) -> Path | None:
    """Return the folder without links; None if it holds no data set or is not a valid path."""
    try:
        path = folder.resolve()
        return path if all((path / split).is_file() for split in _SPLITS) else None
    except (OSError, ValueError):
        return None
