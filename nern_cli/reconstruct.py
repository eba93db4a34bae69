"""`nern reconstruct`: decode a `.nern` file, on this machine or with a service."""

from enum import StrEnum
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from nern_cli.arguments import InputFile, LocalDevice
from nern_cli.extras import needs_extra
from nern_cli.output_files import is_stream, output_file, output_folder, results_beside, resumable_output
from nern_cli.service import Timeout, follow
from nern_cli.service import service as open_service
from nern_cli.terminal_text import print_line, print_note
from nern_core.contract.errors import NernError
from nern_core.formats.hub_folder import is_weights

if TYPE_CHECKING:
    from nern_core.tensors.checkpoint import Checkpoint


class Precision(StrEnum):
    """Dtype of sums."""

    FLOAT64 = "float64"
    FLOAT32 = "float32"


_FORMATS = (".safetensors", ".pt", ".pth", ".th", ".onnx")
_ARTIFACTS = {".safetensors": "weights.safetensors", ".onnx": "weights.onnx"}


def reconstruct(
    encoding: InputFile,
    output: Annotated[
        Path,
        typer.Option(
            "--output",
            "-o",
            help="File to write: weights.safetensors, weights.pt, or weights.onnx for what was an ONNX file; or a "
            "folder, for model.safetensors and the config.json of a folder that was encoded.",
        ),
    ],
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
    shard_bytes: Annotated[
        int | None,
        typer.Option(min=1, help="For a folder: write shards of at most this many bytes, and their index."),
    ] = None,
) -> None:
    """Decode a .nern file into weights.

    Exit status with --service: 3 job failed, 4 job canceled, 5 timed out, 6 service unreachable.
    """
    is_folder = output.is_dir() or not (output.suffix or is_stream(output))
    if shard_bytes is not None and not is_folder:
        raise typer.BadParameter("Only a folder has shards; give a folder as --output.", param_hint="'--shard-bytes'")
    if service is None:
        arithmetic = precision or Precision.FLOAT64, device or LocalDevice.CPU
        if is_folder:
            _decode_folder(encoding, output, *arithmetic, shard_bytes)
        else:
            _decode(encoding, output, *arithmetic)
    elif precision or device:
        raise typer.BadParameter(
            "--precision and --device cannot be combined with --service; they apply to decoding on this machine."
        )
    else:
        _have_decoded(encoding, output, service, timeout)


def _decode_folder(
    encoding: Path, output: Path, precision: Precision, device: LocalDevice, shard_bytes: int | None
) -> None:
    from nern_core.tensors.hub_writing import write_hub_folder

    names: list[str] = []
    with output_folder(output, names, inputs=[encoding]) as folder:
        decoded = _decoded(encoding, precision, device)
        names += write_hub_folder(decoded, folder, shard_bytes)
        _refuse_other_weights(output, names)
    named = ", ".join(dict.fromkeys([names[0], *names[-2:]]))
    print_line(f"{len(decoded.tensors)} tensors written to {output}: {named}")
    if decoded.config is not None:
        print_note("The file holds no tokenizer and no generation_config.json; copy them from the original folder.")


def _refuse_other_weights(folder: Path, names: list[str]) -> None:
    """Raise `NernError` (`folder_not_empty`) if a folder has weights that would be read instead of the new ones."""
    present = [path.name for path in folder.iterdir()] if folder.is_dir() else []
    others = [name for name in present if is_weights(name) and name not in names]
    if others:
        raise NernError("folder_not_empty", f"'{folder}' already holds '{others[0]}'; choose an empty folder.")


def _decoded(encoding: Path, precision: Precision, device: LocalDevice) -> "Checkpoint":
    import torch

    from nern_core.decoder import Arithmetic, decode
    from nern_core.training.devices import torch_device

    return decode(encoding, Arithmetic(dtype=getattr(torch, precision.value), device=torch_device(device.resolve())))


def _decode(encoding: Path, output: Path, precision: Precision, device: LocalDevice) -> None:
    suffix = _format_of(output)
    with output_file(output, inputs=[encoding], stream_suffix=suffix) as file:
        if find_spec("torch") is None and suffix == ".safetensors":
            count = _decode_without_torch(encoding, file)
        else:
            count = _decode_with_torch(encoding, file, precision, device)
    with results_beside(output):
        print_line(f"{count} tensors written to {output}")


def _decode_with_torch(encoding: Path, file: Path, precision: Precision, device: LocalDevice) -> int:
    """Write the decoded weights; return the number of tensors."""
    from nern_core.tensors.checkpoint import write_checkpoint

    decoded = _decoded(encoding, precision, device)
    write_checkpoint(decoded, file)
    return len(decoded.tensors)


def _decode_without_torch(encoding: Path, file: Path) -> int:
    """Write the decoded arrays; return their number. Raises `NernError` (`missing_extra`) without NumPy."""
    try:
        from nern_core.array_decoder import decode_arrays
    except ModuleNotFoundError as error:
        raise needs_extra("nern reconstruct", "decode") from error
    decoded = decode_arrays(encoding)
    decoded.write_safetensors(file)
    return len(decoded.arrays)


def _have_decoded(encoding: Path, output: Path, url: str, timeout: float | None) -> None:
    artifact = _ARTIFACTS.get(_format_of(output), "weights.pt")
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
