"""NNCodec, the standard codec for neural networks (ISO/IEC 15938-17), run beside this project.

It needs another numpy than this project and ends its process on what it cannot read, so it lives in an environment of
its own (`python -m venv FOLDER; FOLDER/bin/pip install nncodec==2.1.3 safetensors`) and gets nothing but tensors that
have been read here before.
"""

import json
import subprocess
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import safetensors.torch
from torch import Tensor

from nern_core.alternatives.alternative import Alternative
from nern_core.errors import NernError

_PROGRAM = Path(__file__).with_name("nncodec_program.py")
_LONGEST_REASON = 300


def code_with_nncodec(tensors: Mapping[str, Tensor], interpreter: Path, parameter: int) -> Alternative:
    """Code with a quantization parameter. Raises `NernError` (`no_nncodec`)."""
    return _code(tensors, interpreter, "--qp", parameter)


def code_as_small(tensors: Mapping[str, Tensor], interpreter: Path, size: int) -> Alternative:
    """Code with the finest parameter that takes no more than `size` bytes, or with the coarsest.

    Raises `NernError` (`no_nncodec`).
    """
    return _code(tensors, interpreter, "--at-most", size)


def _code(tensors: Mapping[str, Tensor], interpreter: Path, option: str, value: int) -> Alternative:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        # safetensors takes no tensors that share memory.
        safetensors.torch.save_file({n: tensor.clone() for n, tensor in tensors.items()}, folder / "in.safetensors")
        # Isolated: beside the program lies this module, whose name is that of the package.
        told = _run([str(interpreter), "-I", str(_PROGRAM), str(folder), option, str(value)])
        decoded = safetensors.torch.load_file(folder / "out.safetensors")
    return Alternative(
        name=f"NNCodec qp {told['parameter']}",
        bytes=told["bytes"],
        tensors={n: decoded[n] for n in tensors},
        seconds=told["seconds"],
    )


def _run(command: list[str]) -> Any:  # noqa: ANN401 # JSON
    """What the program tells in its last line. Raises `NernError` (`no_nncodec`)."""
    try:
        done = subprocess.run(command, check=False, capture_output=True, text=True)  # noqa: S603 # what the caller named
    except OSError as error:
        raise NernError("no_nncodec", f"'{command[0]}' cannot be run: {error.strerror}.") from error
    if done.returncode:
        reason = (done.stderr.strip().splitlines() or [f"status {done.returncode}"])[-1]
        raise NernError("no_nncodec", f"NNCodec has failed: {reason[:_LONGEST_REASON]}")
    return json.loads(done.stdout.splitlines()[-1])
