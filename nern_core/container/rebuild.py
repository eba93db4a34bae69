"""Rebuild a checkpoint from its decoded tensors and the kept ones."""

from collections.abc import Mapping

from torch import Tensor

from nern_core.container.document import Document
from nern_core.container.kept import Kept, values_of
from nern_core.tensors.checkpoint import Checkpoint


def rebuild_checkpoint(document: Document, represented: Mapping[str, Tensor], kept: Mapping[str, Kept]) -> Checkpoint:
    """Return the checkpoint with all tensors in the order of the document."""
    tensors = all_tensors(represented, kept, document.tied)
    return Checkpoint(
        {name: tensors[name] for name in document.tensor_order},
        file_names=document.file_names.by_name(document.tensor_order),
        metadata=document.metadata,
        extra_states=document.extra_states,
        config=document.config,
        graph=document.graph,
    )


def all_tensors(
    represented: Mapping[str, Tensor], kept: Mapping[str, Kept], tied: Mapping[str, str]
) -> dict[str, Tensor]:
    """Return the represented tensors, the values of the kept ones, and copies of both for the names tied to them."""
    tensors = {**{name: values_of(values) for name, values in kept.items()}, **represented}
    return tensors | {alias: tensors[name].clone() for alias, name in tied.items()}
