"""Code tensors with NNCodec: run by `nncodec` with the interpreter of an environment that has it.

PYTHON nncodec_program.py FOLDER --qp N, or --at-most BYTES for the finest parameter that takes no more, reads
FOLDER/in.safetensors, writes FOLDER/out.safetensors, what the coded tensors decode to, and prints the parameter, the
bytes and the seconds of coding as JSON. It knows nothing of the project that it is a part of.
"""

import argparse
import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import safetensors.torch
import torch

# From hardly any error to hardly any weights.
_FINEST, _COARSEST = -48, -4


def main() -> None:
    """Code, decode and tell."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    wanted = parser.add_mutually_exclusive_group(required=True)
    wanted.add_argument("--qp", type=int)
    wanted.add_argument("--at-most", type=int)
    arguments = parser.parse_args()
    nncodec = _nncodec()
    tensors = safetensors.torch.load_file(arguments.folder / "in.safetensors")
    weights = {name: tensor for name, tensor in tensors.items() if tensor.is_floating_point()}

    def code(parameter: int) -> Any:  # noqa: ANN401 # it has no types
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
    """The finest parameter that fits, by bisection, or the coarsest."""
    finest, coarsest = _FINEST, _COARSEST
    while finest < coarsest:
        middle = (finest + coarsest) // 2
        if fits(middle):
            coarsest = middle
        else:
            finest = middle + 1
    return coarsest


def _nncodec() -> Any:  # noqa: ANN401 # it has no types
    try:
        from nncodec import nn
    except RuntimeError as error:
        if "torchvision::nms does not exist" not in str(error):
            raise
        # Beside a CPU build torchvision misses the schemas of two operators, which nothing here uses.
        library = torch.library.Library("torchvision", "FRAGMENT")
        for name in ("nms", "qnms"):
            library.define(f"{name}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
        _nncodec.library = library  # type: ignore[attr-defined] # the schemas live as long as it
        from nncodec import nn
    return nn


if __name__ == "__main__":
    main()
