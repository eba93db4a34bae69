"""A submission: a stored file, and the job to do with it."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from functools import partial
from typing import BinaryIO

from pydantic import ValidationError

from app.datasets.service import NamedDataset
from app.jobs.kinds import JobKind
from app.kit.explanations import explain_option
from app.kit.problems import Problem, refusing
from app.storage import StoredArtifact
from app.uploads.receiving import CHECKPOINT, ENCODING, FileKind, results_of_encoding
from app.webhooks.webhook import Webhook
from nern_core.contract.catalogue import network_structure
from nern_core.contract.catalogue.architectures import must_be_catalogued
from nern_core.contract.options import EncodeOptions, refuse_dataset_alone
from nern_core.formats.checkpoint_format import CheckpointFormat
from nern_core.formats.checkpoint_structure import refuse_own_architecture, refuse_without_kernels, structure_of
from nern_core.tensors.name_matching import match_names

LARGEST_OPTIONS = 64 * 2**10
_FORM_OF_OPTIONS = 'a JSON object, such as {"steps": 200}'
FindDataset = Callable[[str], NamedDataset]


@dataclass(frozen=True, slots=True)
class Submission:
    """A stored file, and the job to do with it.

    With options, the file is a checkpoint to encode; `dataset` is the uploaded data set that they name, if any. Without
    options, the file is an encoding to reconstruct. The results take up to `result_bytes`. The job's name is `name`, or
    else `file_name`.
    """

    file: StoredArtifact
    options: EncodeOptions | None
    name: str | None = None
    file_name: str | None = None
    labels: Mapping[str, str] = field(default_factory=dict)
    webhook: Webhook | None = None
    deadline: timedelta | None = None
    dataset: StoredArtifact | None = None
    result_bytes: int = 0

    @property
    def kind(self) -> JobKind:
        """Kind of the job."""
        return JobKind.RECONSTRUCTION if self.options is None else JobKind.ENCODING


def file_for(options: EncodeOptions | None) -> FileKind:
    """Return the expected kind of file: a checkpoint that the options can encode; without options, an encoding."""
    return ENCODING if options is None else FileKind(CHECKPOINT.name, partial(_refuse_unfit, options))


def _refuse_unfit(options: EncodeOptions, file: BinaryIO) -> int:
    """Raise `Problem` if the file is not a checkpoint, does not fit the architecture or has no kernels.

    Returns the space in bytes that the results may take.
    """
    with refusing("key" if options.key else "checkpoint"):
        structure = structure_of(file, options.key)
    with refusing("architecture"):
        # The tensors of other networks are known only to the worker.
        if structure.format is CheckpointFormat.ONNX:
            refuse_own_architecture(options.architecture)
        elif options.architecture is not None and must_be_catalogued(options.architecture):
            shapes = {name: claim.shape for name, claim in structure.tensors.items()}
            match_names(shapes, network_structure(options.architecture))
    with refusing("dataset"):
        if structure.format is not CheckpointFormat.ONNX:
            refuse_dataset_alone(options)
    with refusing("kernels" if options.kernels else "checkpoint"):
        refuse_without_kernels(structure, options.represented, options.predictor_width, options.kernels_per_coordinate)
    return results_of_encoding(structure)


def parse_options(text: bytes, find_dataset: FindDataset) -> tuple[EncodeOptions, StoredArtifact | None]:
    """Parse options from JSON, and find the uploaded data set that they name, if any.

    Raises `Problem` (`invalid-options`, `unknown-dataset`, `dataset-lost`).
    """
    try:
        options = EncodeOptions.model_validate_json(text)
    except ValidationError as error:
        raise Problem.of_validation(
            "invalid-options", error, explain=explain_option, name="options", form=_FORM_OF_OPTIONS
        ) from error
    if options.dataset is None:
        return options, None
    found = find_dataset(options.dataset)
    return options.model_copy(update={"dataset": found.name}), found.stored
