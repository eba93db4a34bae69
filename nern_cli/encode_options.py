"""The options of an encoding as flags, shared by all commands that have them."""

import copy
import functools
import inspect
from collections.abc import Callable
from typing import Annotated, Any, get_args

import annotated_types
import typer
from typer.models import OptionInfo

from nern_cli.arguments import CheckpointKey, LocalDevice
from nern_core.contract.catalogue import RecipeName
from nern_core.contract.catalogue.architectures import ARCHITECTURE_NAMES
from nern_core.contract.options import AUTO, LARGEST_INTEGER, Device, EncodeOptions, Permutation, representation_names

_PARAMETER = "options"


def takes_encode_options(command: Callable[..., None]) -> Callable[..., None]:
    """Replace a command's parameter `options` by these flags. The command raises pydantic's `ValidationError`."""
    return _with_flags(command, _flags, _local_flags)


def takes_job_options(command: Callable[..., None]) -> Callable[..., None]:
    """Like `takes_encode_options`, with the options that only jobs have."""
    return _with_flags(command, _flags, _job_flags)


def _with_flags(command: Callable[..., None], *groups: Callable[..., dict[str, Any]]) -> Callable[..., None]:
    flags = {name: _with_bounds(flag) for group in groups for name, flag in inspect.signature(group).parameters.items()}

    @functools.wraps(command)
    def with_flags(**given: Any) -> None:  # noqa: ANN401 # values parsed by typer
        values: dict[str, Any] = {}
        for group in groups:
            values |= group(**{name: given.pop(name) for name in inspect.signature(group).parameters})
        command(**given, options=EncodeOptions(**values))

    own = inspect.signature(command).parameters.values()
    parameters = [shown for one in own for shown in (flags.values() if one.name == _PARAMETER else [one])]
    keyword_only = [parameter.replace(kind=inspect.Parameter.KEYWORD_ONLY) for parameter in parameters]
    with_flags.__signature__ = inspect.Signature(keyword_only)  # type: ignore[attr-defined] # what typer reads
    return with_flags


def _with_bounds(flag: inspect.Parameter) -> inspect.Parameter:
    """Add the bounds that `EncodeOptions` declares for this option to the flag's help."""
    bounds = bounds_of(flag.name)
    if not bounds:
        return flag
    kind, info, *others = get_args(flag.annotation)
    assert isinstance(info, OptionInfo)
    info = copy.copy(info)
    info.help = f"{info.help} {bounds}"
    return flag.replace(annotation=Annotated[kind, info, *others])


def bounds_of(option: str) -> str:
    """Return the bounds of an option as a sentence, such as `From 8 to 4096.`; empty without bounds."""
    parts = []
    for bound in EncodeOptions.model_fields[option].metadata if option in EncodeOptions.model_fields else ():
        match bound:
            case annotated_types.Ge(ge=least):
                parts.append(f"from {least:g}")
            case annotated_types.Gt(gt=limit):
                parts.append(f"above {limit:g}")
            # Larger limits only keep numbers exact.
            case annotated_types.Le(le=int() | float() as most) if most < LARGEST_INTEGER:
                parts.append(f"up to {most:g}")
            case _:
                pass
    text = " ".join(parts)
    if text.startswith("from "):
        text = text.replace(" up to ", " to ") if " up to " in text else f"{text.removeprefix('from ')} or more"
    return f"{text[0].upper()}{text[1:]}." if text else ""


def _flags(
    architecture: Annotated[str | None, typer.Option(help=f"{ARCHITECTURE_NAMES}.")] = None,
    key: CheckpointKey = None,
    dataset: Annotated[
        str | None,
        typer.Option(
            help="Folder with train.npz and test.npz, a file with both splits, or the name of a data set uploaded to "
            "the service. Needs --architecture."
        ),
    ] = None,
    representation: Annotated[
        str,
        typer.Option(
            metavar=f"[{'|'.join(representation_names())}]",
            help="How the weights are stored: quantized, or as a predictor, the published method. auto: quantized, "
            "unless another option asks for a predictor.",
        ),
    ] = AUTO,
    recipe: Annotated[RecipeName, typer.Option(help="Named training settings.")] = RecipeName.FAST,
    kernels: Annotated[
        list[str] | None,
        typer.Option(
            help="Tensors to encode: all (the default), spatial (the default of a predictor), or patterns of tensor "
            "names; a leading ! excludes. May be repeated."
        ),
    ] = None,
    target_bytes: Annotated[
        int | None, typer.Option(help="Target size of the file in bytes; weights are quantized for it.")
    ] = None,
    target_ratio: Annotated[
        float | None, typer.Option(help="Target size as a ratio: bytes of the encoded tensors over bytes of the file.")
    ] = None,
    max_drop: Annotated[
        float | None,
        typer.Option(help="Find the smallest file with at most this accuracy drop, in points."),
    ] = None,
    hidden_size: Annotated[int | None, typer.Option(help="Width of the predictor.")] = None,
    kernels_per_coordinate: Annotated[
        int, typer.Option(help="Number of neighbouring kernels of a filter that are predicted at once.")
    ] = 1,
    permutation: Annotated[Permutation, typer.Option(help="Order of the kernels.")] = Permutation.CROSS_FILTER,
    seconds: Annotated[float | None, typer.Option(help="Training budget in seconds.")] = None,
    steps: Annotated[
        int | None,
        typer.Option(help="Training budget in steps. The recipe data-free makes at least one batch of images before."),
    ] = None,
    rounds: Annotated[int, typer.Option(help="Rounds of reconstruction, each fitted to the one before.")] = 1,
    fail_over: Annotated[
        float | None,
        typer.Option(help="Fail, without files, if the accuracy drop exceeds this many points. Needs --dataset."),
    ] = None,
    seed: Annotated[int, typer.Option(help="Seed for all random choices.")] = 0,
) -> dict[str, Any]:
    return {
        "architecture": architecture,
        "key": key,
        "dataset": dataset,
        "representation": representation,
        "recipe": recipe,
        "kernels": tuple(kernels) if kernels else None,
        "target_bytes": target_bytes,
        "target_ratio": target_ratio,
        "max_drop": max_drop,
        "hidden_size": hidden_size,
        "kernels_per_coordinate": kernels_per_coordinate,
        "permutation": permutation,
        "seconds": seconds,
        "steps": steps,
        "rounds": rounds,
        "fail_over": fail_over,
        "seed": seed,
    }


def _local_flags(
    device: Annotated[
        LocalDevice, typer.Option(help="Device to use; auto: a GPU if there is one; cuda: the same as gpu.")
    ] = LocalDevice.AUTO,
) -> dict[str, Any]:
    return {"device": device.resolve()}


def _job_flags(
    device: Annotated[Device, typer.Option(help="Kind of worker that runs the job.")] = Device.CPU,
    importance: Annotated[
        bool, typer.Option("--importance", help="Also rank the kernels by importance; takes longer.")
    ] = False,
    direct_quantization: Annotated[
        bool,
        typer.Option(
            "--direct-quantization",
            help="Also quantize the network directly, with the same time and size, for the report; takes twice as "
            "long.",
        ),
    ] = False,
) -> dict[str, Any]:
    return {"device": device, "importance": importance, "direct_quantization": direct_quantization}
