"""Options of an encoding. Torch-free: shared by HTTP, the command line and recipes."""

from enum import StrEnum
from typing import Annotated, Any, Final, Self

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, ValidationInfo, model_validator
from pydantic_core import PydanticCustomError

from nern_core.contract.catalogue import RecipeName
from nern_core.contract.catalogue.architectures import UNKNOWN_ARCHITECTURE, has_provider
from nern_core.contract.errors import NernError
from nern_core.contract.option_conflicts import refuse_conflicts
from nern_core.contract.representations import PREDICTOR, QUANTIZED, RepresentationEntry, representation_entries

AUTO: Final = "auto"
# In the context of a validation: names are accepted that are unknown here, because a file was made elsewhere or because
# the user of a command imports code.
ANY_ARCHITECTURE: Final = "any architecture"


class Permutation(StrEnum):
    """Reordering of a layer's kernels before they get coordinates (paper, section 3.3)."""

    NONE = "none"
    IN_FILTER = "in-filter"
    CROSS_FILTER = "cross-filter"


class Device(StrEnum):
    """Device that runs an encoding; also the name of its job's queue."""

    CPU = "cpu"
    GPU = "gpu"


class Tier(StrEnum):
    """Work that is put into quantized weights."""

    INSTANT = "instant"
    TRAINED = "trained"


# The largest integer that all JSON parsers represent exactly.
LARGEST_INTEGER = 2**53 - 1


def representation_names() -> list[str]:
    """Return the values of the option `representation`."""
    return [AUTO, *representation_entries()]


def _known_representation(name: str) -> str:
    if name not in representation_names():
        raise ValueError(f"there is no such representation; use {', '.join(representation_names())}")
    return name


def _list_representations(schema: dict[str, Any]) -> None:
    schema["enum"] = representation_names()


def _known_architecture(name: str | None, info: ValidationInfo) -> str | None:
    if name is not None and not has_provider(name) and ANY_ARCHITECTURE not in (info.context or ()):
        raise PydanticCustomError(UNKNOWN_ARCHITECTURE, "there is no such architecture")
    return name


def _as_list(value: object) -> object:
    return [value] if isinstance(value, str) else value


class EncodeOptions(BaseModel):
    """The options of an encoding, with the same names in the API, the CLI and the `.nern` file.

    The flags of commands, `nern_client.EncodeOptions` and the table in docs/encoding.md are derived from it: run
    `make generate` after a change. Help texts of flags are the first paragraphs of the descriptions.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    architecture: Annotated[
        str | None,
        AfterValidator(_known_architecture),
        Field(
            description="The network that the checkpoint belongs to: `cifar-resnet20`, `-32`, `-44`, `-56`, "
            "`-110`, `digits-cnn`, `torchvision:NAME`, `timm:NAME`, or that of an installed package. An ONNX file "
            "holds its own.\n\n`transformers:auto` is the network of the `config.json` in a folder. "
            "Without an architecture, the encoding is fitted to the weights alone.",
        ),
    ] = None
    key: Annotated[
        str | None,
        Field(
            max_length=256,
            pattern=r"^[^\x00-\x1f\x7f]+$",
            description="Location of the weights in a checkpoint with several state dicts: a key, such as "
            "`params_ema`, a dotted path, or the prefix of the tensors' names.\n\n"
            "Default: the only state dict, or that under a usual key such as `model`.",
        ),
    ] = None
    dataset: Annotated[
        str | None,
        Field(
            min_length=1,
            description="Images by class, arrays or text lines: a folder, a file or, for a service, the name of an "
            "uploaded data set. Needs `architecture`, except for ONNX files.\n\n"
            "They are used for distillation, and to measure the accuracy, or without labels the agreement.",
        ),
    ] = None
    outputs: Annotated[
        Annotated[tuple[Annotated[str, Field(min_length=1, max_length=256)], ...], Field(min_length=1, max_length=64)]
        | None,
        BeforeValidator(_as_list, json_schema_input_type=str | list[str] | None),
        Field(
            description="Outputs of the network to compare with the original's: names such as `logits`, or paths of "
            "modules, such as `backbone.layer4`. Default: all outputs.\n\n"
            "Needs `dataset`, or inputs in memory. Each output counts the same."
        ),
    ] = None
    representation: Annotated[
        str,
        AfterValidator(_known_representation),
        Field(
            json_schema_extra=_list_representations,
            description="Storage of the weights: `quantized`, or a `predictor`, the published method. `auto` is "
            "`quantized`, unless another option asks for a predictor.\n\n"
            "`quantized`: entropy-coded integers; the smallest and most accurate files. `predictor`: a small network "
            "that predicts the weights from their coordinates. `hidden_size`, `rounds`, `kernels_per_coordinate`, "
            "`permutation` and the recipe `paper` ask for a predictor.",
        ),
    ] = AUTO
    recipe: Annotated[
        RecipeName,
        Field(
            description="Named training settings.\n\n"
            "`data-free` makes images from the network itself. `paper` has the published settings, which take hours.",
        ),
    ] = RecipeName.FAST
    tier: Annotated[
        Tier | None,
        Field(
            description="Work on quantized weights: `instant` rounds them in seconds, by what inputs show of their "
            "importance; `trained` trains them afterwards.\n\n"
            "Default: `trained` if there is a network and inputs to train on, else `instant`. `instant` is without "
            "`steps` and `seconds`."
        ),
    ] = None
    kernels: Annotated[
        Annotated[tuple[str, ...], Field(min_length=1)] | None,
        BeforeValidator(_as_list, json_schema_input_type=str | list[str] | None),
        Field(
            description="Tensors to represent: `all` (the default), `spatial` (the default of a predictor), or "
            "patterns of tensor names, such as `layer4.*.conv1.weight`; a pattern after `!` excludes what matches.\n\n"
            "`spatial`: convolution kernels of spatial size 2 and larger. `all`: these and matrices. One pattern or a "
            "list of patterns: exactly what matches. The other tensors are kept.",
        ),
    ] = None
    target_bytes: Annotated[
        int | None,
        Field(
            ge=1,
            le=LARGEST_INTEGER,
            description="Target size of the whole `.nern` file in bytes: quantized weights are trained for "
            "this size.\n\nNot together with `target_ratio`. Default: with `dataset`, the smallest file that is "
            "estimated to lose at most half a point of accuracy, with three or more bits per weight; else, a size at "
            "which weights keep eight-bit precision.",
        ),
    ] = None
    target_ratio: Annotated[
        float | None,
        Field(gt=1, le=1000, description="Target compression ratio: bytes of the encoded tensors / bytes of the file."),
    ] = None
    max_drop: Annotated[
        float | None,
        Field(
            gt=0,
            le=100,
            description="Limit on the accuracy drop in points; the smallest such file is searched for. Needs "
            "`dataset`.\n\nThe drop is estimated on a part of the training split. Not together with a target.",
        ),
    ] = None
    hidden_size: Annotated[
        int | None,
        Field(
            ge=8,
            le=4096,
            description="Width of the predictor.\n\n"
            "Its hidden layers have this size: larger is more accurate but makes a larger file. Default: chosen from "
            "the number of represented weights.",
        ),
    ] = None
    kernels_per_coordinate: Annotated[
        int,
        Field(
            ge=1,
            le=64,
            description="Neighbouring kernels of a filter that share a coordinate and are predicted together.\n\n"
            "More than 1 makes training and decoding of networks with millions of weights faster, by about this "
            "factor.",
        ),
    ] = 1
    permutation: Annotated[
        Permutation,
        Field(
            description="Reordering of the kernels of each layer before they get coordinates.\n\n"
            "It makes neighbouring kernels similar.",
        ),
    ] = Permutation.CROSS_FILTER
    seconds: Annotated[
        float | None,
        Field(
            gt=0,
            description="Training budget in seconds. Not together with `steps`.\n\n"
            "On a slow machine, this means fewer steps.",
        ),
    ] = None
    steps: Annotated[
        int | None,
        Field(
            ge=1,
            le=LARGEST_INTEGER,
            description="Training budget in optimizer steps, all phases together. The recipe `data-free` makes at "
            "least one batch of images before.\n\nDefault: chosen for the network.",
        ),
    ] = None
    rounds: Annotated[
        int,
        Field(
            ge=1,
            le=10,
            description="Rounds of reconstruction, each fitted to the one before.\n\n"
            "The result of a round is smoother than the original. Together, the rounds use the reconstruction's part "
            "of the budget.",
        ),
    ] = 1
    fail_over: Annotated[
        float | None,
        Field(
            ge=0,
            le=100,
            description="Limit on the accuracy drop in points on the test split: a larger drop ends with the error "
            "`too_lossy` and leaves no files. Needs `dataset`.",
        ),
    ] = None
    importance: Annotated[
        bool,
        Field(
            description="Also rank the kernels by importance; takes longer.\n\n"
            "With `dataset`, also measure how much accuracy is lost by pruning the least important ones."
        ),
    ] = False
    direct_quantization: Annotated[
        bool,
        Field(
            description="Also quantize the network itself while distilling it, with the same time and size as the "
            "encoding, for the report; takes twice as long. Needs `dataset`.",
        ),
    ] = False
    seed: Annotated[int, Field(ge=0, lt=2**63, description="Seed of every random choice.")] = 0
    device: Annotated[Device, Field(description="Device that runs the encoding.")] = Device.CPU

    @property
    def has_target(self) -> bool:
        """Return True if a size is requested, either given or to be searched for."""
        return any(target is not None for target in (self.target_bytes, self.target_ratio, self.max_drop))

    @property
    def may_train(self) -> bool:
        """Return whether there is anything to train: a predictor, or weights for images."""
        if self.tier is Tier.INSTANT:
            return False
        return (
            self.representation_entry.always_trains or self.dataset is not None or self.recipe is RecipeName.DATA_FREE
        )

    @property
    def representation_kind(self) -> str:
        """Return the name of the representation; `auto` is `quantized` unless other options ask for a predictor."""
        if self.representation != AUTO:
            return self.representation
        asks_for_predictor = not self.has_target and (
            self.shapes_predictor or self.recipe is RecipeName.PAPER or self.permutation is not Permutation.CROSS_FILTER
        )
        return PREDICTOR if asks_for_predictor else QUANTIZED

    @property
    def representation_entry(self) -> RepresentationEntry:
        """Return the catalogue's entry of the representation."""
        return representation_entries()[self.representation_kind]

    @property
    def shapes_predictor(self) -> bool:
        """Return True if an option is given that only applies to a predictor."""
        return self.hidden_size is not None or self.rounds > 1 or self.kernels_per_coordinate > 1

    @property
    def represented(self) -> tuple[str, ...]:
        """Return the policy `kernels`, or its default."""
        return self.kernels or self.representation_entry.default_kernels

    @property
    def predictor_width(self) -> int | None:
        """Return the hidden size that output heads must pay for: 0 without a predictor, None for the default."""
        return self.hidden_size if self.representation_kind == PREDICTOR else 0

    def target(self, tensor_bytes: int) -> int | None:
        """Return the target size in bytes for tensors of this size; None if there is no target."""
        if self.target_ratio is not None:
            return round(tensor_bytes / self.target_ratio)
        return self.target_bytes

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        refuse_conflicts(self)
        return self


def refuse_dataset_alone(options: EncodeOptions) -> None:
    """Raise `NernError` (`no_architecture`) for a data set without an architecture."""
    if options.dataset is not None and options.architecture is None:
        raise NernError(
            "no_architecture",
            "`dataset` needs `architecture`, for training and measuring; only ONNX files and folders of transformers "
            "need none.",
        )
