"""The runner: encodes or reconstructs one file in a child process, `python -m worker.runner FOLDER`.

A pure function of files: it reads the uploaded file and the spec in its folder, prints progress as JSON lines, and
writes snapshots and results there. It has no database, no broker and no secrets, confines itself before it reads the
uploaded file, and dies with the process that started it.
"""

import ctypes
import errno
import os
import signal
import sys
import traceback
from collections.abc import Callable
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING

from nern_core.contract.errors import NernError
from nern_core.contract.options import Device, EncodeOptions
from nern_core.contract.progress import OnProgress, Phase, Progress
from nern_core.contract.system_errors import is_out_of_memory
from worker.folder import INTERRUPTED, MACHINE_FAULT, ONNX_RESULT, RECONSTRUCTED, RunFolder, RunSpec
from worker.machine_faults import fault_of_folder
from worker.protocol import LONGEST_MESSAGE, ErrorLine, RunnerLine, printable
from worker.runner_faults import NotPrepared, fault_of_machine, importing
from worker.sandbox import Confinement, SandboxError, confine

if TYPE_CHECKING:
    from nern_core.analysis.baselines import Alternative
    from nern_core.analysis.report.files import MeasuredComparison
    from nern_core.encoder import EncodingResult
    from nern_core.tensors.checkpoint import Checkpoint

FAILED = 1
_PR_SET_PDEATHSIG = 1
# Share of the importance in the progress of a job that asks for it; the comparison takes a share of the rest.
_SHARE_OF_IMPORTANCE = 0.2
_SHARE_OF_COMPARISON, _SHARE_OF_TRAINED_RIVAL = 0.05, 0.45
# The pruning curve measures the accuracy about a hundred times.
_MOST_PRUNING_IMAGES = 2000
_NO_MEMORY = (
    "out_of_memory",
    "The job ran out of memory; use a smaller network, or a larger machine.",
)
_FILE_TOO_LARGE = ("file_too_large", "The job needs a larger file than allowed here; tell the operator.")
_MACHINE_FAULT = "The worker's machine failed."
_UNEXPECTED = ("internal_error", "The job failed unexpectedly; see the worker's log.")


def main(folder: RunFolder, parent: int) -> int:
    """Run the spec in `folder` and return the exit status."""
    _die_with(parent)
    return run(folder, _private_output(), _StopRequest())


def run(folder: RunFolder, write_line: Callable[[str], None], stop: Callable[[], bool]) -> int:
    """Run the spec in `folder` in this process, print lines with `write_line`, and return the exit status."""
    try:
        spec = _prepare(folder)
        if spec.options is None:
            return _reconstruct(folder, write_line)
        return _encode(folder, spec, spec.options, write_line, stop)
    except NernError as error:
        _write_error(write_line, error.code, error.message)
    except Exception as error:  # noqa: BLE001 # any error ends the job with a message; the log has the details
        traceback.print_exc()
        fault = fault_of_machine(error) or fault_of_folder(folder.home)
        if fault is not None:
            _write_error(write_line, fault, _MACHINE_FAULT)
            return MACHINE_FAULT
        _write_error(write_line, *_explained(error))
    return FAILED


def _prepare(folder: RunFolder) -> RunSpec:
    """Read the spec and confine this process. Raises `SandboxError`, and `NotPrepared` for any other error."""
    try:
        spec = RunSpec.model_validate_json(folder.spec.read_bytes())
        os.chdir(folder.datasets)
        _confine(folder, spec)
    except SandboxError:
        raise
    except Exception as error:
        raise NotPrepared from error
    return spec


class _StopRequest:
    """Sets `received` at the first SIGTERM."""

    def __init__(self) -> None:
        self._received = False
        signal.signal(signal.SIGTERM, self._receive)

    def __call__(self) -> bool:
        return self._received

    def _receive(self, number: int, frame: FrameType | None) -> None:
        self._received = True


def _confine(folder: RunFolder, spec: RunSpec) -> None:
    """Drop the rights that the work does not need. Raises `SandboxError` if a part fails and all are required."""
    options = spec.options or EncodeOptions()
    dataset, gpu = _dataset(options), options.device is Device.GPU
    missing = confine(
        Confinement(
            folder=folder.path,
            readable=[] if dataset is None else [dataset],
            # CUDA reserves as much address space as all memory of the machine.
            memory_bytes=None if gpu else spec.memory_bytes,
            file_bytes=spec.file_bytes,
            gpu=gpu,
        )
    )
    for part, reason in missing.items():
        print(f"sandbox: no {part}: {reason}", file=sys.stderr)
    if missing and spec.require_sandbox:
        raise SandboxError(f"there is no {' and no '.join(missing)} here")


def _reconstruct(folder: RunFolder, write_line: Callable[[str], None]) -> int:
    """Decode, write the weights in all formats, and return the exit status."""
    report_progress = _progress_within(write_line, 0.0, 1.0)
    report_progress(Progress(phase=Phase.STARTING))
    with importing():
        from nern_core.decoder import decode

    report_progress(Progress(phase=Phase.READING))
    decoded = decode(folder.encoding)
    report_progress(Progress(phase=Phase.WRITING, fraction=0.5))
    _write_weights(decoded, folder)
    report_progress(Progress(phase=Phase.WRITING, fraction=1.0))
    return 0


def _encode(
    folder: RunFolder,
    spec: RunSpec,
    options: EncodeOptions,
    write_line: Callable[[str], None],
    stop: Callable[[], bool],
) -> int:
    """Encode, write all results, and return the exit status."""
    compared_at = 1 - _SHARE_OF_IMPORTANCE if options.importance else 1.0
    encoded_at = compared_at * (1 - (_SHARE_OF_TRAINED_RIVAL if options.direct_quantization else _SHARE_OF_COMPARISON))
    progress = _progress_within(write_line, 0.0, encoded_at)
    progress(Progress(phase=Phase.STARTING))
    with importing():
        from nern_core.analysis.report.page import render_page
        from nern_core.encoder import encode
        from nern_core.training.snapshots import Interrupted, Snapshots

    encoding = folder.result("encoding.nern")
    snapshots = Snapshots(
        folder.snapshots,
        seconds_between=spec.seconds_between_snapshots,
        interrupted=stop,
        on_saved=lambda name: write_line(RunnerLine(snapshot=name).encoded()),
    )
    try:
        result = encode(folder.checkpoint, encoding, options, progress, snapshots=snapshots, started=spec.started)
    except Interrupted:
        return INTERRUPTED
    result.stopwatch.begin(Phase.WRITING)
    _write_weights(result.comparison.decoded, folder)
    result.stopwatch.begin(Phase.COMPARISON, at=1.0)
    on_comparison = _progress_within(write_line, encoded_at, compared_at)
    comparison = _compare(options, result, on_comparison)
    folder.result("report.html").write_text(render_page(comparison), encoding="utf-8")
    on_comparison(Progress(phase=Phase.COMPARISON, fraction=1.0))
    if options.importance:
        result.stopwatch.begin(Phase.IMPORTANCE)
        _write_importance(folder, options, result, _progress_within(write_line, compared_at, 1.0))
    report = comparison.report.with_seconds(result.stopwatch.seconds())
    folder.report.write_text(report.model_dump_json(indent=2), encoding="utf-8")
    return 0


def _write_weights(decoded: "Checkpoint", folder: RunFolder) -> None:
    """Write the weights in all formats."""
    from nern_core.tensors.checkpoint import write_checkpoint

    for name in RECONSTRUCTED if decoded.graph is None else (*RECONSTRUCTED, ONNX_RESULT):
        write_checkpoint(decoded, folder.result(name))


def _progress_within(write_line: Callable[[str], None], start: float, end: float) -> OnProgress:
    """Report the progress of a part of the job, which spans the fractions `start` to `end` of the whole."""

    def report_progress(progress: Progress) -> None:
        fraction = start + (end - start) * progress.fraction
        write_line(RunnerLine(progress=progress.model_copy(update={"fraction": fraction})).encoded())

    return report_progress


def _compare(options: EncodeOptions, result: "EncodingResult", on_progress: OnProgress) -> "MeasuredComparison":
    """Measure the alternatives on the same images."""
    from nern_core.analysis.report.files import measure_comparison
    from nern_core.training.devices import torch_device

    rivals, failed = _rivals(options, result, on_progress)
    return measure_comparison(
        result.comparison,
        trained=result.report,
        dataset=_dataset(options),
        others=rivals,
        failed=failed,
        device=torch_device(options.device),
    )


def _rivals(
    options: EncodeOptions, result: "EncodingResult", on_progress: OnProgress
) -> tuple[list["Alternative"], dict[str, str]]:
    """Train the alternative for as long as the encoding, if requested; return it, or the reason why there is none."""
    dataset = _dataset(options)
    if not options.direct_quantization or dataset is None:
        return [], {}
    from nern_core.analysis.baselines import DIRECT_QUANTIZATION
    from nern_core.analysis.direct_quantization import quantize_as_small
    from nern_core.training.devices import torch_device

    try:
        rival = quantize_as_small(
            result.comparison,
            dataset=dataset,
            seconds=result.report.training_seconds,
            device=torch_device(options.device),
            seed=options.seed,
            on_progress=on_progress,
        )
    except NernError as error:
        # The encoding is finished and just as useful without the alternative.
        return [], {DIRECT_QUANTIZATION: error.message}
    return [rival], {}


def _write_importance(
    folder: RunFolder, options: EncodeOptions, result: "EncodingResult", on_progress: OnProgress
) -> None:
    from nern_core.analysis.importance import measure, write
    from nern_core.training.devices import torch_device

    measured = measure(
        result.comparison,
        dataset=_dataset(options),
        images=_MOST_PRUNING_IMAGES,
        device=torch_device(options.device),
        on_progress=on_progress,
    )
    write(measured, folder.results)


def _dataset(options: EncodeOptions) -> Path | None:
    return None if options.dataset is None else Path(options.dataset)


def _explained(error: Exception) -> tuple[str, str]:
    """Return code and message for an error that is not a `NernError`."""
    if is_out_of_memory(error):
        return _NO_MEMORY
    if isinstance(error, OSError) and error.errno == errno.EFBIG:
        return _FILE_TOO_LARGE
    return _UNEXPECTED


def _write_error(write_line: Callable[[str], None], code: str, message: str) -> None:
    # Names of tensors come from the file and may have any length.
    write_line(RunnerLine(error=ErrorLine(code=code, message=printable(message)[:LONGEST_MESSAGE])).encoded())


def _private_output() -> Callable[[str], None]:
    """Reserve standard output for protocol lines; what libraries print goes to standard error."""
    output = os.fdopen(os.dup(sys.stdout.fileno()), "w", buffering=1)
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())

    def write_line(line: str) -> None:
        print(line, file=output, flush=True)

    return write_line


def _die_with(parent: int) -> None:
    """Ask the kernel to kill this process when its parent ends for any reason."""
    ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:  # the parent had ended before
        os._exit(FAILED)


if __name__ == "__main__":
    sys.exit(main(RunFolder(Path(sys.argv[1])), int(sys.argv[2])))
