"""Save and restore the state of a training.

A training is a sequence of stages that always come in the same order: its long loops. Each stage has its own file,
which is replaced from time to time while the stage runs and once more when it ends. A restarted training with these
files runs through the same code: a stage with a file restores its state and continues from there, which for a finished
stage is its end. Everything between the stages is computed again, from the same state.
"""

import logging
import os
import time
from collections.abc import Callable, Mapping
from importlib.metadata import version
from pathlib import Path
from typing import Protocol

import torch
from safetensors import SafetensorError

from nern_core.training.snapshots.state import State, UnreadableStateError, read_state, write_state

# Limit on the share of time spent on saving, unless that would exceed the promised limit on lost time.
_SHARE_OF_SAVING = 0.05
_MOST_SECONDS_BETWEEN_SAVES = 50.0
_logger = logging.getLogger(__name__)
_WRITTEN_BY = "written by"


class Interrupted(Exception):  # a requested stop, not an error
    """The training was asked to stop, and has saved its state."""


class Resumable(Protocol):
    """A part of a training whose state changes while it runs."""

    def state(self) -> State:
        """Return everything needed to resume."""

    def restore(self, state: State) -> None:
        """Resume from a state."""


class RandomNumbers:
    """A random number generator as a part of a snapshot."""

    def __init__(self, generator: torch.Generator) -> None:
        self._generator = generator

    def state(self) -> State:
        """Return the generator's state."""
        return self._generator.get_state()

    def restore(self, state: State) -> None:
        """Restore a state, to continue with the numbers that follow it."""
        self._generator.set_state(state)


class Snapshots:
    """The stages of one training and their files. Without a folder nothing is saved."""

    def __init__(
        self,
        folder: Path | None = None,
        *,
        seconds_between: float = 20.0,
        interrupted: Callable[[], bool] = lambda: False,
        on_saved: Callable[[str], None] = lambda name: None,
    ) -> None:
        """`interrupted` is called after every step; `on_saved` gets the name of each file once it is on the disk."""
        self._folder = folder
        self._interrupted = interrupted
        self._on_saved = on_saved
        self._always: dict[str, Resumable] = {}
        self._stages = 0
        self._wanted_seconds = self._seconds_between = seconds_between

    def include(self, name: str, part: Resumable) -> None:
        """Save this part with all later stages."""
        self._always[name] = part

    def stage(self, parts: Mapping[str, Resumable]) -> "StageSnapshot":
        """Begin the next stage; restore the saved state of its parts and of those that are always included."""
        stage = StageSnapshot(self, f"stage-{self._stages}", self._always | dict(parts))
        self._stages += 1
        stage.restore()
        return stage

    @property
    def saving(self) -> bool:
        """Return True if there is a folder to save in."""
        return self._folder is not None

    @property
    def interrupted(self) -> bool:
        """Return True if the training should save and stop."""
        return self._interrupted()

    @property
    def seconds_between(self) -> float:
        """Return the seconds between two saves of a stage."""
        return self._seconds_between

    def save(self, name: str, state: dict[str, State]) -> None:
        """Replace the file of this name; the new one is on the disk when this returns.

        On failure, such as on a full disk, the old file stays, the reason is logged, and the training continues.
        """
        assert self._folder is not None
        started = time.monotonic()
        temporary = self._folder / f"{name}.writing"
        try:
            write_state({_WRITTEN_BY: _program(), **state}, temporary)
            _flush(temporary)
            temporary.replace(self._folder / name)
            _flush(self._folder)
        except (OSError, SafetensorError) as error:
            _logger.warning("snapshot %s was not saved: %s", name, error)
            temporary.unlink(missing_ok=True)
        else:
            self._on_saved(name)
        affordable = (time.monotonic() - started) / _SHARE_OF_SAVING
        self._seconds_between = max(self._wanted_seconds, min(affordable, _MOST_SECONDS_BETWEEN_SAVES))

    def saved(self, name: str) -> dict[str, State] | None:
        """Return the state saved under this name; None if it is missing, damaged, or from another version."""
        if self._folder is None or not (self._folder / name).exists():
            return None
        try:
            found: dict[str, State] = read_state(self._folder / name)
        except UnreadableStateError:
            return None
        return found if found.pop(_WRITTEN_BY) == _program() else None


class StageSnapshot:
    """Saves and restores one stage of a training. Made by `Snapshots.stage`."""

    def __init__(self, snapshots: Snapshots, name: str, parts: Mapping[str, Resumable]) -> None:
        self._snapshots = snapshots
        self._name = name
        self._parts = parts
        self._saved = time.monotonic()

    def restore(self) -> None:
        """Restore the saved state of the parts, if there is one."""
        saved = self._snapshots.saved(self._name)
        if saved is not None:
            for name, part in self._parts.items():
                part.restore(saved[name])

    def step_done(self) -> None:
        """Save if it is due. Raises `Interrupted`, after saving, if the training should stop."""
        interrupted = self._snapshots.interrupted
        if interrupted or time.monotonic() - self._saved >= self._snapshots.seconds_between:
            self.save()
        if interrupted:
            raise Interrupted

    def save(self) -> None:
        """Save now; also call this at the end of the stage."""
        if self._snapshots.saving:
            self._snapshots.save(self._name, {name: part.state() for name, part in self._parts.items()})
            self._saved = time.monotonic()


def _program() -> str:
    return f"nern {version('nern')}, torch {torch.__version__}"


def _flush(path: Path) -> None:
    """Flush a file, or the names in a folder, to the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
