"""Read the `config.json` of a folder of the hub, which is written again beside the decoded weights. Torch-free."""

import json
from typing import Any, Final, TypeGuard

from nern_core.contract.errors import NernError
from nern_core.formats.hub_files import HubFiles

CONFIG: Final = "config.json"
_LARGEST: Final = 2**20
# The document of a `.nern` file, which holds the configuration, can be read with 255 levels.
_DEEPEST: Final = 100


def read_config(files: HubFiles) -> dict[str, Any] | None:
    """Return the content of `config.json`; None without one. Raises `NernError` (`bad_config`)."""
    if CONFIG not in files.names():
        return None
    with files.open(CONFIG) as file:
        text = file.read(_LARGEST + 1)
    try:
        found = None if len(text) > _LARGEST else _written_again(json.loads(text))
    except (ValueError, RecursionError):
        found = None
    if not isinstance(found, dict):
        raise NernError(
            "bad_config",
            f"The {CONFIG} is not a JSON object of at most 1 MiB and {_DEEPEST} levels; use a complete copy of it.",
        )
    return found


def _written_again(value: object) -> object:
    """Return a value of JSON that can be written again. Raises `ValueError`, also for numbers that are not finite."""
    json.dumps(value, allow_nan=False, ensure_ascii=False).encode()
    level = [value]
    for _ in range(_DEEPEST):
        entries = [entry.values() if isinstance(entry, dict) else entry for entry in level if _is_nested(entry)]
        level = [value for several in entries for value in several]
        if not level:
            return value
    raise ValueError


def _is_nested(value: object) -> TypeGuard[dict[str, object] | list[object]]:
    return isinstance(value, dict | list)
