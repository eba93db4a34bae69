"""Snapshots of a training, so that another process can go on with it where this one has stopped."""

from nern_core.snapshots.snapshots import Interrupted, RandomNumbers, Resumable, Snapshots, Stage
from nern_core.snapshots.state import State

__all__ = ["Interrupted", "RandomNumbers", "Resumable", "Snapshots", "Stage", "State"]
