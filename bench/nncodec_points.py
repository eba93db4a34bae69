"""Code a checkpoint with NNCodec, the standard neural-network codec, at several quantization parameters.

Run by `bench.rate_accuracy` with the interpreter that the environment variable NERN_NNCODEC_PYTHON names, because
NNCodec needs another numpy than this project: PYTHON bench/nncodec_points.py IN.safetensors FOLDER QP … writes
FOLDER/QP.safetensors, what the coded file decodes to, and prints the bytes of each as JSON.
"""

import json
import sys
import time
from pathlib import Path
from typing import Any

import safetensors.torch
import torch


def main(checkpoint: str, folder: str, *parameters: str) -> None:
    """Code, decode and tell."""
    nncodec = _nncodec()
    tensors = safetensors.torch.load_file(checkpoint)
    weights = {name: tensor for name, tensor in tensors.items() if tensor.is_floating_point()}
    sizes = {}
    for parameter in parameters:
        started = time.perf_counter()
        coded = nncodec.encode(
            {name: tensor.numpy().copy() for name, tensor in weights.items()},
            args={"qp": int(parameter), "results": folder},
        )
        seconds = time.perf_counter() - started
        decoded = {name: torch.as_tensor(values) for name, values in nncodec.decode(coded).items()}
        whole = {
            n: decoded[n].reshape(t.shape).to(t.dtype).contiguous() if n in weights else t for n, t in tensors.items()
        }
        safetensors.torch.save_file(whole, Path(folder) / f"{parameter}.safetensors")
        sizes[parameter] = {"bytes": len(coded), "seconds": round(seconds, 2)}
    print(json.dumps(sizes))


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
    main(*sys.argv[1:])
