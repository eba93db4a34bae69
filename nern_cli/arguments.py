"""Arguments and options that several commands have."""

from collections.abc import Callable
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from nern_core.options import ARCHITECTURE_NAMES, Device


def _refuse_pipe(path: Path) -> Path:
    """Files are read in several places of theirs."""
    if not path.is_file():
        raise typer.BadParameter(f"'{path}' is a pipe or a device; write its content to a file and name that.")
    return path


InputFile = Annotated[Path, typer.Argument(exists=True, dir_okay=False, readable=True, callback=_refuse_pipe)]
CheckpointKey = Annotated[
    str | None,
    typer.Option(
        help="Where in a checkpoint of several state dicts the weights are: a key, such as params_ema, a dotted path, "
        "or what the names of the tensors begin with."
    ),
]
Json = Annotated[bool, typer.Option("--json", help="Print one JSON object on standard output, last.")]
# Of commands that read an encoding, which may name an architecture itself.
EncodingArchitecture = Annotated[
    str | None, typer.Option("--architecture", help=f"{ARCHITECTURE_NAMES}. Default: what the encoding names.")
]
TestImages = Annotated[
    int | None, typer.Option(min=1, help="Test images to use, evenly spread over the split. Default: all.")
]


_CHECKPOINT_SUFFIXES = (".safetensors", ".pt", ".pth", ".th", ".bin", ".ckpt")


class LocalDevice(StrEnum):
    """Devices of this machine."""

    AUTO = "auto"
    CPU = "cpu"
    GPU = "gpu"
    CUDA = "cuda"

    def resolve(self) -> Device:
        """The device that it is here. CUDA is torch's name of the GPU."""
        match self:
            case LocalDevice.CPU:
                return Device.CPU
            case LocalDevice.GPU | LocalDevice.CUDA:
                return Device.GPU
            case LocalDevice.AUTO:
                from nern_core.devices import best_device

                return best_device()


def refuse_checkpoint_name(output: Path) -> None:
    """Raise `typer.BadParameter` for an encoding that would be taken for a checkpoint."""
    if output.suffix in _CHECKPOINT_SUFFIXES:
        raise typer.BadParameter(
            f"'{output}' has the name of a checkpoint; name a .nern file. `nern reconstruct` makes a checkpoint of it.",
            param_hint="'--output' / '-o'",
        )


def refuse_empty(hint: str) -> Callable[[str], str]:
    """The callback of an argument that an empty variable may have made empty; the `hint` says what to do."""

    def checked(value: str) -> str:
        if not value.strip():
            raise typer.BadParameter(f"It is empty; {hint}.")
        return value

    return checked
