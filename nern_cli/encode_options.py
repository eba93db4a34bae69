"""The options of an encoding as flags, derived from `EncodeOptions` and shared by all commands that have them."""

import functools
import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import GenericAlias, MappingProxyType, NoneType
from typing import Annotated, Any, Final, get_args, get_origin

import typer

from nern_cli.arguments import LocalDevice
from nern_cli.option_words import bounds_of, choices_of, flag_of, help_of
from nern_cli.own_code import own_architecture
from nern_core.contract.catalogue.architectures import ARCHITECTURE_NAMES
from nern_core.contract.options import ANY_ARCHITECTURE, Device, EncodeOptions
from nern_core.formats.hub_folder import named_architecture

_PARAMETER: Final = "options"


def _unchanged(value: object) -> object:
    return value


@dataclass(frozen=True, slots=True, kw_only=True)
class Flag:
    """An option for typer: type and default of the parsed value, which `convert` turns into the option's value."""

    kind: Any
    default: object
    help: str
    metavar: str | None = None
    convert: Callable[[Any], Any] = _unchanged


# Flags that differ from the model. An option with None has no flag.
_LOCAL: Final[Mapping[str, Flag | None]] = MappingProxyType(
    {
        "architecture": Flag(
            kind=str,
            default=None,
            help=f"The network that the checkpoint belongs to: {ARCHITECTURE_NAMES}, or your own code as "
            "package.module:NAME or ./file.py:NAME, a function or class without arguments, which is imported.",
            convert=own_architecture,
        ),
        "dataset": Flag(
            kind=str,
            default=None,
            help="Folder or file of images, arrays or text lines, to train on and to measure the result. Needs "
            "--architecture, except for ONNX files and folders of transformers.",
        ),
        "importance": None,
        "direct_quantization": None,
        "device": Flag(
            kind=LocalDevice,
            default=LocalDevice.AUTO,
            help="Device to use; auto: a GPU if there is one; cuda: the same as gpu.",
            convert=LocalDevice.resolve,
        ),
    }
)
_JOB: Final[Mapping[str, Flag | None]] = MappingProxyType(
    {
        "dataset": Flag(
            kind=str,
            default=None,
            help="Name of an uploaded data set, or a folder or file on the service's machine. "
            "Needs --architecture, except for ONNX files and folders of transformers.",
        ),
        "device": Flag(kind=Device, default=Device.CPU, help="Kind of worker that runs the job."),
    }
)


def takes_encode_options(command: Callable[..., None]) -> Callable[..., None]:
    """Replace a command's parameter `options` by flags. The command raises pydantic's `ValidationError`."""
    # Names of the user's own code are imported later.
    return _with_flags(command, _flags(_LOCAL), frozenset({ANY_ARCHITECTURE}))


def takes_job_options(command: Callable[..., None]) -> Callable[..., None]:
    """Like `takes_encode_options`, for the options of a job."""
    return _with_flags(command, _flags(_JOB))


def _with_flags(
    command: Callable[..., None], flags: Mapping[str, Flag], context: frozenset[str] = frozenset()
) -> Callable[..., None]:
    @functools.wraps(command)
    def with_flags(**given: Any) -> None:  # noqa: ANN401 # values parsed by typer
        values = {name: flag.convert(given.pop(name)) for name, flag in flags.items()}
        checkpoint = given.get("checkpoint")
        if values["dataset"] is not None and values["architecture"] is None and isinstance(checkpoint, Path):
            values["architecture"] = architecture_in_folder(checkpoint)
        command(**given, options=EncodeOptions.model_validate(values, context=context))

    shown = [_parameter(name, flag) for name, flag in flags.items()]
    own = inspect.signature(command).parameters.values()
    parameters = [parameter for one in own for parameter in (shown if one.name == _PARAMETER else [one])]
    keyword_only = [parameter.replace(kind=inspect.Parameter.KEYWORD_ONLY) for parameter in parameters]
    with_flags.__signature__ = inspect.Signature(keyword_only)  # type: ignore[attr-defined] # what typer reads
    return with_flags


def architecture_in_folder(checkpoint: Path) -> str | None:
    """Return the architecture that the configuration beside a checkpoint names, for a folder of the hub."""
    name = named_architecture(checkpoint)
    return None if name is None else f"transformers:{name}"


def _flags(different: Mapping[str, Flag | None]) -> Mapping[str, Flag]:
    """Return the flags of a command by option, in the order of the model."""
    flags = {name: different[name] if name in different else _derived(name) for name in EncodeOptions.model_fields}
    return {name: flag for name, flag in flags.items() if flag is not None}


def _derived(option: str) -> Flag:
    """Return the flag that follows from the declaration of an option."""
    field = EncodeOptions.model_fields[option]
    kind = _kind_of(field.annotation)
    help_text = " ".join(filter(None, (help_of(option), bounds_of(option))))
    if get_origin(kind) is tuple:
        item = _kind_of(get_args(kind)[0])
        # Without the flag, typer passes an empty list.
        return Flag(
            kind=GenericAlias(list, item),
            default=field.default,
            help=f"{help_text} May be repeated.",
            convert=lambda values: values or field.default,
        )
    # typer shows the choices of an enumeration itself.
    choices = choices_of(option) if kind is str else ()
    return Flag(kind=kind, default=field.default, help=help_text, metavar=f"[{'|'.join(choices)}]" if choices else None)


def _kind_of(annotation: Any) -> Any:  # noqa: ANN401 # a type or an alias of types
    """Return the type of an option without None and metadata."""
    if get_origin(annotation) is Annotated:
        return _kind_of(get_args(annotation)[0])
    kinds = get_args(annotation)
    return _kind_of(next(kind for kind in kinds if kind is not NoneType)) if NoneType in kinds else annotation


def _parameter(option: str, flag: Flag) -> inspect.Parameter:
    # A name given to typer keeps it from adding --no-NAME to switches.
    info = typer.Option(flag_of(option), help=flag.help, metavar=flag.metavar)
    kind = flag.kind if flag.default is not None else flag.kind | None
    return inspect.Parameter(
        option, inspect.Parameter.KEYWORD_ONLY, default=flag.default, annotation=Annotated[kind, info]
    )
