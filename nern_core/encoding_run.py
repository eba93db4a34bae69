"""One encoding while it runs: what it was asked, what it has read, its budget, and who is told."""

from dataclasses import dataclass

import torch
from torch import Tensor

from nern_core.codec import Document
from nern_core.codec.document import FileNames, Representation
from nern_core.encoding_input import EncodingInput
from nern_core.observer import TrainingObserver
from nern_core.options import EncodeOptions
from nern_core.recipes import Recipe
from nern_core.snapshots import Snapshots
from nern_core.stopwatch import Stopwatch
from nern_core.training.clock import Budget
from nern_core.training.teacher import Teacher


@dataclass(frozen=True, kw_only=True, slots=True)
class EncodingRun:
    """Everything that both representations are made from.

    `affords_training` says whether quantized weights are trained where nobody has asked for a size or a budget.
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
        """What the file says of this encoding."""
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
        """The tensors of the checkpoint."""
        return self.source.checkpoint.tensors
