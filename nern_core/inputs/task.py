"""The task that a representation gets: the checkpoint to encode, and the plan of its training."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

import torch
from pydantic import JsonValue
from torch import Tensor

from nern_core.container.document import Document, FileNames
from nern_core.contract.options import EncodeOptions
from nern_core.inputs.source import EncodingInput
from nern_core.training.clock import Budget
from nern_core.training.image_source import ImageSettings
from nern_core.training.observer import TrainingObserver
from nern_core.training.snapshots import Snapshots
from nern_core.training.stopwatch import Stopwatch
from nern_core.training.teacher import Teacher

# Characters of a `config.json` that a `.nern` file holds at most.
_LARGEST_CONFIG: Final = 16 * 2**10


@dataclass(frozen=True, kw_only=True, slots=True)
class EncodingTask:
    """A checkpoint to encode by its options; `teacher` is its network, if that is known."""

    options: EncodeOptions
    source: EncodingInput
    teacher: Teacher | None
    device: torch.device

    @property
    def tensors(self) -> dict[str, Tensor]:
        """Return the tensors of the checkpoint."""
        return self.source.checkpoint.tensors

    def document(self, representation: Mapping[str, JsonValue], tied: Mapping[str, str]) -> Document:
        """Return the document for the file, with the description of its representation."""
        checkpoint = self.source.checkpoint
        return Document(
            architecture=self.options.architecture,
            options=self.options,
            representation=dict(representation),
            layers=self.source.layers,
            tied=dict(tied),
            tensor_order=tuple(self.tensors),
            source=self.source.source,
            file_names=FileNames.of(checkpoint.file_names, self.tensors),
            metadata=None if checkpoint.metadata is None else dict(checkpoint.metadata),
            extra_states=dict(checkpoint.extra_states),
            config=_small(checkpoint.config),
            graph=checkpoint.graph,
        )


def _small(config: Mapping[str, JsonValue] | None) -> dict[str, JsonValue] | None:
    """Return the configuration of a folder unless it is large, because its owner has it, too."""
    if config is None or len(json.dumps(config)) > _LARGEST_CONFIG:
        return None
    return dict(config)


@dataclass(frozen=True, kw_only=True, slots=True)
class TrainingPlan:
    """The plan of a training: images, budget and random numbers; observer, stopwatch and snapshots.

    `is_worthwhile` is False if neither a size nor a budget is requested and the default budget is too small to improve
    rounded weights.
    """

    images: ImageSettings
    budget: Budget
    is_worthwhile: bool
    generator: torch.Generator
    observer: TrainingObserver
    stopwatch: Stopwatch
    snapshots: Snapshots
