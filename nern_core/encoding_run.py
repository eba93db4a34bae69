"""One encoding while it runs: what it was asked, what it has read, its budget, and who is told."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

import torch
from torch import Tensor

from nern_core.codec import Document
from nern_core.codec.document import FileNames, Representation
from nern_core.encoding_input import EncodingInput
from nern_core.observer import TrainingObserver
from nern_core.options import EncodeOptions
from nern_core.progress import OnProgress, Phase, Progress
from nern_core.recipes import Recipe
from nern_core.snapshots import Snapshots
from nern_core.training.clock import Budget
from nern_core.training.teacher import Teacher


@dataclass(slots=True)
class Stopwatch:
    """Seconds by phase; tells when one begins."""

    on_progress: OnProgress
    seconds: dict[str, float] = field(default_factory=dict)

    @contextmanager
    def measure(self, phase: Phase, *, at: float) -> Iterator[None]:
        """Measure what is done in the context; `at` is the fraction of the whole that it begins at."""
        self.on_progress(Progress(phase=phase, fraction=at))
        started = time.perf_counter()
        yield
        self.add(phase, time.perf_counter() - started)

    def add(self, phase: Phase, seconds: float) -> None:
        """Count seconds that a phase took."""
        self.seconds[phase.value] = self.seconds.get(phase.value, 0.0) + seconds


@dataclass(frozen=True, kw_only=True, slots=True)
class EncodingRun:
    """Everything that both representations are made from."""

    options: EncodeOptions
    recipe: Recipe
    source: EncodingInput
    teacher: Teacher | None
    device: torch.device
    budget: Budget
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
            metadata=checkpoint.metadata,
            extra_states=dict(checkpoint.extra_states),
        )

    @property
    def tensors(self) -> dict[str, Tensor]:
        """The tensors of the checkpoint."""
        return self.source.checkpoint.tensors
