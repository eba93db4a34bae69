"""`nern reconstruct`: decode a `.nern` file, on this machine or with a service."""

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from nern_cli.arguments import InputFile, LocalDevice
from nern_cli.output_files import is_stream, output_file, results_beside, resumable_output
from nern_cli.service import Timeout, follow
from nern_cli.service import service as open_service
from nern_cli.terminal_text import print_line


class Precision(StrEnum):
    """Dtype of sums."""

    FLOAT64 = "float64"
    FLOAT32 = "float32"


_FORMATS = (".safetensors", ".pt", ".pth", ".th")


def reconstruct(
    encoding: InputFile,
    output: Annotated[Path, typer.Option("--output", "-o", help="File to write: weights.safetensors or weights.pt.")],
    service: Annotated[
        str | None,
        typer.Option(metavar="URL", help="Decode with the service at this address; the key comes from NERN_API_KEY."),
    ] = None,
    timeout: Timeout = None,
    precision: Annotated[
        Precision | None,
        typer.Option(
            help="Dtype of a predictor's sums. float32 is more than twice as fast, but the last digits depend on the "
            "processor. Default: float64."
        ),
    ] = None,
    device: Annotated[
        LocalDevice | None,
        typer.Option(help="Device to use; auto: a GPU if there is one; cuda: the same as gpu. Default: cpu."),
    ] = None,
) -> None:
    """Decode a .nern file into weights.

    Exit status with --service: 3 job failed, 4 job canceled, 5 timed out, 6 service unreachable.
    """
    if service is None:
        _decode(encoding, output, precision or Precision.FLOAT64, device or LocalDevice.CPU)
    elif precision or device:
        raise typer.BadParameter(
            "--precision and --device cannot be combined with --service; they apply to decoding on this machine."
        )
    else:
        _have_decoded(encoding, output, service, timeout)


def _decode(encoding: Path, output: Path, precision: Precision, device: LocalDevice) -> None:
    import torch

    from nern_core.decoder import Arithmetic, decode
    from nern_core.tensors.checkpoint import write_checkpoint
    from nern_core.training.devices import torch_device

    arithmetic = Arithmetic(dtype=getattr(torch, precision.value), device=torch_device(device.resolve()))
    suffix = _format_of(output)
    with output_file(output, inputs=[encoding], stream_suffix=suffix) as file:
        decoded = decode(encoding, arithmetic)
        write_checkpoint(decoded, file)
    with results_beside(output):
        print_line(f"{len(decoded.tensors)} tensors written to {output}")


def _have_decoded(encoding: Path, output: Path, url: str, timeout: float | None) -> None:
    artifact = "weights.safetensors" if _format_of(output) == ".safetensors" else "weights.pt"
    with open_service(url) as client, resumable_output(output, inputs=[encoding]) as file:
        job = client.reconstructions.create(encoding)
        job = follow(client, job.id, timeout, on_update=lambda job: None)
        client.jobs.download(job.id, artifact, file)
    with results_beside(output):
        print_line(f"{output}: {job.artifacts[artifact].bytes:,} bytes")


def _format_of(output: Path) -> str:
    """Return the format for the output's suffix; safetensors for a device or a pipe without one."""
    if output.suffix in _FORMATS:
        return output.suffix
    if is_stream(output):
        return ".safetensors"
    raise typer.BadParameter(f"'{output}' must end in {', '.join(_FORMATS)}.", param_hint="'--output' / '-o'")
