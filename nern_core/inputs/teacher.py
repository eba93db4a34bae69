"""Make the teacher of an encoding from its input."""

from pathlib import Path

import torch

from nern_core.contract.catalogue import RecipeName
from nern_core.contract.errors import NernError, sentence_case
from nern_core.contract.options import EncodeOptions
from nern_core.inputs.source import EncodingInput
from nern_core.networks import build_network
from nern_core.networks.registry import copy_network
from nern_core.training.teacher import StrongerTeacher, Teacher, read_stronger_teacher


def make_teacher(
    source: EncodingInput,
    device: torch.device,
    options: EncodeOptions,
    stronger: StrongerTeacher | None,
    *,
    compares_features: bool,
) -> Teacher | None:
    """Return the original network, if its architecture is known, with the stronger teacher if that can be used."""
    if options.outputs and source.inputs is None:
        raise NernError("needs_inputs", "`outputs` needs inputs: a data set, or batches; omit it.")
    if source.network is not None:
        _refuse_image_options(source, options, stronger)
        network = copy_network(source.network, device)
        if source.inputs is None:
            return Teacher(network=network)
        return Teacher(network=network, batches=source.inputs.training, reader=source.inputs.reader(network))
    if stronger is not None:
        _refuse_stronger_teacher(source, options, compares_features=compares_features)
    if source.architecture is None:
        return None
    network = build_network(source.architecture, source.checkpoint.tensors, device)
    better = None
    if stronger is not None and options.dataset is not None and source.preprocessing is not None:
        better = read_stronger_teacher(stronger, network, source.preprocessing, Path(options.dataset))
    return Teacher(network=network, preprocessing=source.preprocessing, images=source.training_images, stronger=better)


def _refuse_image_options(source: EncodingInput, options: EncodeOptions, stronger: StrongerTeacher | None) -> None:
    """Raise `NernError` (`needs_images`) for options that need labelled images, or at least labels."""
    need_images = {
        "a stronger teacher": stronger is not None,
        "`max_drop`": options.max_drop is not None,
        "`direct_quantization`": options.direct_quantization,
        "`importance`": options.importance and options.dataset is not None,
        "the recipe `paper`": options.recipe is RecipeName.PAPER,
        "the recipe `data-free`": options.recipe is RecipeName.DATA_FREE,
    }
    for what, is_asked_for in need_images.items():
        if is_asked_for:
            raise NernError(
                "needs_images", f"{sentence_case(what)} needs a classifier and a data set of labelled images; omit it."
            )
    if options.fail_over is not None and not _has_labels(source):
        raise NernError("needs_images", "`fail_over` needs labels; omit it.")


def _has_labels(source: EncodingInput) -> bool:
    return source.inputs is not None and all(batch.labels is not None for batch in source.inputs.held_out)


def _refuse_stronger_teacher(source: EncodingInput, options: EncodeOptions, *, compares_features: bool) -> None:
    """Raise `NernError` if a stronger teacher has no images, or if the recipe cannot use it."""
    if source.training_images is None:
        raise NernError("teacher_without_data", "A stronger teacher needs images; give a `dataset`, too.")
    if compares_features:
        raise NernError(
            "teacher_features",
            f"The recipe `{options.recipe}` compares feature maps, which a stronger teacher of another architecture "
            "does not have; choose the recipe `fast`, or omit the teacher.",
        )
