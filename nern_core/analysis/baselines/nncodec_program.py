"""Code tensors with NNCodec. `nncodec` runs this with the interpreter of an environment that has NNCodec.

PYTHON nncodec_program.py FOLDER --qp N, or --at-most BYTES for the finest parameter whose result fits, reads
FOLDER/in.safetensors and writes the decoded tensors to FOLDER/out.safetensors. It prints the parameter, the size in
bytes and the seconds of coding as JSON. It imports nothing of this project.
"""

import argparse
import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import safetensors.torch
import torch

# From almost no error to almost no weights.
_FINEST, _COARSEST = -48, -4


def main() -> None:
    """Code and decode the tensors, and print the measurements."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    wanted = parser.add_mutually_exclusive_group(required=True)
    wanted.add_argument("--qp", type=int)
    wanted.add_argument("--at-most", type=int)
    arguments = parser.parse_args()
    nncodec = _nncodec()
    tensors = safetensors.torch.load_file(arguments.folder / "in.safetensors")
    weights = {name: tensor for name, tensor in tensors.items() if tensor.is_floating_point()}

    def code(parameter: int) -> Any:  # noqa: ANN401 # NNCodec has no types
        return nncodec.encode(
            {name: tensor.float().numpy().copy() for name, tensor in weights.items()},
            args={"qp": parameter, "results": str(arguments.folder)},
        )

    parameter = arguments.qp
    if parameter is None:
        parameter = _finest(lambda candidate: len(code(candidate)) <= arguments.at_most)
    started = time.perf_counter()
    coded = code(parameter)
    seconds = round(time.perf_counter() - started, 3)
    decoded = {name: torch.as_tensor(values) for name, values in nncodec.decode(coded).items()}
    whole = {n: decoded[n].reshape(t.shape).to(t.dtype).contiguous() if n in weights else t for n, t in tensors.items()}
    safetensors.torch.save_file(whole, arguments.folder / "out.safetensors")
    print(json.dumps({"parameter": parameter, "bytes": len(coded), "seconds": seconds}))


def _finest(fits: Callable[[int], bool]) -> int:
    """Find the finest parameter that fits, by bisection; the coarsest if none fits."""
    finest, coarsest = _FINEST, _COARSEST
    while finest < coarsest:
        middle = (finest + coarsest) // 2
        if fits(middle):
            coarsest = middle
        else:
            finest = middle + 1
    return coarsest


def _nncodec() -> Any:  # noqa: ANN401 # NNCodec has no types
    try:
        from nncodec import nn
    except RuntimeError as error:
        if "torchvision::nms does not exist" not in str(error):
            raise
        # With a CPU build of torch, torchvision misses the schemas of two operators, which are not used here.
        library = torch.library.Library("torchvision", "FRAGMENT")
        for name in ("nms", "qnms"):
            library.define(f"{name}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
        _nncodec.library = library  # type: ignore[attr-defined] # the schemas live as long as this object
        from nncodec import nn
    return nn


if __name__ == "__main__":
    main()
