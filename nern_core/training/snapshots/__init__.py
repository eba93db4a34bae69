"""Snapshots of a training, so that another process can resume it."""

from nern_core.training.snapshots.snapshots import Interrupted, RandomNumbers, Resumable, Snapshots, StageSnapshot
from nern_core.training.snapshots.state import State

__all__ = ["Interrupted", "RandomNumbers", "Resumable", "Snapshots", "StageSnapshot", "State"]
