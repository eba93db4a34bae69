"""Arguments and options shared by several commands."""

from collections.abc import Callable
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from nern_cli.option_words import help_of
from nern_cli.own_code import own_architecture
from nern_core.contract.catalogue.architectures import ARCHITECTURE_NAMES
from nern_core.contract.options import Device


def _refuse_pipe(path: Path) -> Path:
    """Return the path of a regular file; a pipe is refused because files are read with random access."""
    if not path.is_file():
        raise typer.BadParameter(f"'{path}' is a pipe or a device; save its content to a file and use that.")
    return path


def _refuse_pipe_but_folder(path: Path) -> Path:
    return path if path.is_dir() else _refuse_pipe(path)


InputFile = Annotated[Path, typer.Argument(exists=True, dir_okay=False, readable=True, callback=_refuse_pipe)]
# A file, or a folder of the hub with the weights.
CheckpointPath = Annotated[Path, typer.Argument(exists=True, readable=True, callback=_refuse_pipe_but_folder)]
CheckpointKey = Annotated[str | None, typer.Option(help=help_of("key"))]
Json = Annotated[bool, typer.Option("--json", help="Print the result as one JSON object on standard output.")]
# For commands that read an encoding, which may name its architecture itself.
EncodingArchitecture = Annotated[
    str | None,
    typer.Option(
        "--architecture",
        callback=own_architecture,
        help=f"{ARCHITECTURE_NAMES}, or your own code as package.module:NAME or ./file.py:NAME. Default: the one named "
        "in the encoding.",
    ),
]
TestImages = Annotated[
    int | None, typer.Option(min=1, help="Test images to use, evenly spread over the split. Default: all.")
]


_CHECKPOINT_SUFFIXES = (".safetensors", ".pt", ".pth", ".th", ".bin", ".ckpt", ".onnx")


class LocalDevice(StrEnum):
    """Devices of this machine."""

    AUTO = "auto"
    CPU = "cpu"
    GPU = "gpu"
    CUDA = "cuda"

    def resolve(self) -> Device:
        """Return the device to use on this machine; `cuda` is torch's name for `gpu`."""
        match self:
            case LocalDevice.CPU:
                return Device.CPU
            case LocalDevice.GPU | LocalDevice.CUDA:
                return Device.GPU
            case LocalDevice.AUTO:
                from nern_core.training.devices import best_device

                return best_device()


def refuse_checkpoint_name(output: Path) -> None:
    """Raise `typer.BadParameter` for an output whose suffix is that of a checkpoint."""
    if output.suffix in _CHECKPOINT_SUFFIXES:
        raise typer.BadParameter(
            f"'{output}' has the suffix of a checkpoint; choose a .nern file and decode it with `nern reconstruct`.",
            param_hint="'--output' / '-o'",
        )


def refuse_empty(hint: str) -> Callable[[str], str]:
    """Return a callback that refuses an empty argument, as from an unset shell variable; `hint` says what to do."""

    def checked(value: str) -> str:
        if not value.strip():
            raise typer.BadParameter(f"It is empty; {hint}.")
        return value

    return checked
