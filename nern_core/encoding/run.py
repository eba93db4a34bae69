"""The state of a running encoding: its options, input, budget and observers."""

from dataclasses import dataclass

import torch
from torch import Tensor

from nern_core.container import Document
from nern_core.container.document import FileNames, Representation
from nern_core.contract.options import EncodeOptions
from nern_core.encoding.source import EncodingInput
from nern_core.recipes import Recipe
from nern_core.training.clock import Budget
from nern_core.training.observer import TrainingObserver
from nern_core.training.snapshots import Snapshots
from nern_core.training.stopwatch import Stopwatch
from nern_core.training.teacher import Teacher


@dataclass(frozen=True, kw_only=True, slots=True)
class EncodingRun:
    """The inputs that both representations are made from.

    `affords_training` says whether quantized weights are trained if neither a size nor a budget is requested.
    """

    options: EncodeOptions
    recipe: Recipe
    source: EncodingInput
    teacher: Teacher | None
    device: torch.device
    budget: Budget
    affords_training: bool
    generator: torch.Generator
    observer: TrainingObserver
    stopwatch: Stopwatch
    snapshots: Snapshots

    def document(self, representation: Representation, tied: dict[str, str]) -> Document:
        """Return the document for the file of this encoding."""
        checkpoint = self.source.checkpoint
        return Document(
            architecture=self.options.architecture,
            options=self.options,
            representation=representation,
            layers=self.source.layers,
            tied=tied,
            tensor_order=tuple(self.tensors),
            source=self.source.source,
            file_names=FileNames.of(checkpoint.file_names, self.tensors),
            metadata=None if checkpoint.metadata is None else dict(checkpoint.metadata),
            extra_states=dict(checkpoint.extra_states),
        )

    @property
    def tensors(self) -> dict[str, Tensor]:
        """Return the tensors of the checkpoint."""
        return self.source.checkpoint.tensors
