"""NNCodec, the standard codec for neural networks (ISO/IEC 15938-17), run as a separate process.

It needs another numpy version than this project and exits on input that it cannot read. So it has its own environment
(`python -m venv FOLDER; FOLDER/bin/pip install nncodec==2.1.3 safetensors`) and gets only tensors that were already
read here.
"""

import json
import subprocess
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import safetensors.torch
from torch import Tensor

from nern_core.analysis.baselines.alternative import Alternative
from nern_core.contract.errors import NernError

_PROGRAM = Path(__file__).with_name("nncodec_program.py")
_LONGEST_REASON = 300


def code_with_nncodec(tensors: Mapping[str, Tensor], interpreter: Path, parameter: int) -> Alternative:
    """Code `tensors` with a given quantization parameter. Raises `NernError` (`no_nncodec`)."""
    return _code(tensors, interpreter, "--qp", parameter)


def code_as_small(tensors: Mapping[str, Tensor], interpreter: Path, size: int) -> Alternative:
    """Code with the finest parameter whose result fits in `size` bytes, or with the coarsest one.

    Raises `NernError` (`no_nncodec`).
    """
    return _code(tensors, interpreter, "--at-most", size)


def _code(tensors: Mapping[str, Tensor], interpreter: Path, option: str, value: int) -> Alternative:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        # safetensors rejects tensors that share memory.
        safetensors.torch.save_file({n: tensor.clone() for n, tensor in tensors.items()}, folder / "in.safetensors")
        # -I (isolated): otherwise the import finds this module, which is in the program's folder and has the package's
        # name.
        result = _run([str(interpreter), "-I", str(_PROGRAM), str(folder), option, str(value)])
        decoded = safetensors.torch.load_file(folder / "out.safetensors")
    return Alternative(
        name=f"NNCodec qp {result['parameter']}",
        bytes=result["bytes"],
        tensors={n: decoded[n] for n in tensors},
        seconds=result["seconds"],
    )


def _run(command: list[str]) -> Any:  # noqa: ANN401 # JSON
    """Return the JSON in the last line of the program's output. Raises `NernError` (`no_nncodec`)."""
    try:
        done = subprocess.run(command, check=False, capture_output=True, text=True)  # noqa: S603 # the caller's choice
    except OSError as error:
        raise NernError("no_nncodec", f"'{command[0]}' cannot be run: {error.strerror}.") from error
    if done.returncode:
        reason = (done.stderr.strip().splitlines() or [f"status {done.returncode}"])[-1]
        raise NernError("no_nncodec", f"NNCodec failed: {reason[:_LONGEST_REASON]}")
    return json.loads(done.stdout.splitlines()[-1])
