"""Which folders a job may name as its data set."""

from http import HTTPStatus
from pathlib import Path

from app.problems import Problem
from app.settings import Settings

_SPLITS = ("train.npz", "test.npz")


def resolve_dataset(dataset: str, settings: Settings) -> str:
    """The absolute folder that a job's `dataset` option names.

    With `dataset_roots` set, a name is relative to one of them and must stay below it. The embedded mode
    without roots takes any local folder, relative ones from where the service was started. Raises `Problem`
    (`unknown-dataset`, the same for what does not exist and what is not allowed).
    """
    roots = [root.resolve() for root in settings.dataset_roots]
    if roots:
        candidates = [root / dataset for root in roots]
        where = "among the data sets that this service offers; ask its operator for their names"
    else:
        candidates = [Path(dataset)] if settings.embedded else []
        where = "on this machine" if settings.embedded else "here: this service offers no data sets"
    for path in filter(None, map(_resolved, candidates)):
        if not roots or any(path.is_relative_to(root) for root in roots):
            return str(path)
    raise Problem(
        HTTPStatus.UNPROCESSABLE_ENTITY,
        "unknown-dataset",
        f"dataset: there is no folder '{dataset}' with train.npz and test.npz {where}.",
    )


def _resolved(folder: Path) -> Path | None:
    """The folder without links, if it holds a data set; None also for what can be no path at all."""
    try:
        path = folder.resolve()
        return path if all((path / split).is_file() for split in _SPLITS) else None
    except (OSError, ValueError):
        return None
