"""The coder of quantized layers: bits above the entropy, and weights per second.

python -m bench.lanes [--nncodec PYTHON] writes bench/results/lanes.json. Layers have the shapes of torchvision's
ResNet50 and ViT-B/16, and integers of a Laplace or normal distribution whose scale varies by filter, channel and
position. The bits of the ideal are those of the true distributions of all integers. Kernels of more than one value are
transformed. Times are the best of several, from the streams in memory to weights in memory, after the compilation.

- compiled and numpy: encoding, and decoding to float32, with numba on all cores and with NumPy alone on one.
- nncodec: decoding of the same weights in about as many bytes, with the interpreter of `make nncodec` or `--nncodec`.
"""

import argparse
import json
import math
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import safetensors.numpy

from bench.assets import HERE, RESULTS
from bench.machine import describe_machine
from bench.random_networks import random_tensors
from bench.timing import best_seconds
from nern_core.codec.backend import Backend, fastest_backend, numpy_backend
from nern_core.codec.layers import CodedLayer, CoordinateTables, LayerTables, WeightType
from nern_core.codec.streams import decode_layers, open_layers, pack_layers

_NETWORKS = ("resnet50", "vit_b_16")
# NNCodec takes minutes for the other one.
_WITH_NNCODEC = "resnet50"
# Middle classes of layers that take about 0.05, 0.3, 1, 2, 3.2, 4 and 8 bits per weight.
_SCALES = (13, 16, 19, 22, 26, 28, 41)
# A tenth of float32.
_SCALE_OF_A_TENTH = 26
_BASELINES = HERE.parent / "nern_core" / "analysis" / "baselines"
_REPETITIONS = 5
_MOST_SECONDS = 20.0
# Finds the parameter for about as many bytes as given on the largest tensor, and codes all tensors with it.
_NNCODEC = """
import json, sys, time, safetensors.numpy
sys.path.append(sys.argv[4])
import nncodec_program
nncodec = nncodec_program._nncodec()
tensors = safetensors.numpy.load_file(sys.argv[1])
name, largest = max(tensors.items(), key=lambda pair: pair[1].size)
share = largest.size / sum(tensor.size for tensor in tensors.values())
def code(some, parameter):
    copies = {name: array.copy() for name, array in some.items()}
    return nncodec.encode(copies, args={"qp": parameter, "results": sys.argv[3]})
finest, coarsest = -48, -4
while finest < coarsest:
    middle = (finest + coarsest) // 2
    if len(code({name: largest}, middle)) <= share * int(sys.argv[2]):
        coarsest = middle
    else:
        finest = middle + 1
coded = code(tensors, finest)
started = time.perf_counter()
nncodec.decode(coded)
print(json.dumps({"parameter": finest, "bytes": len(coded), "seconds": time.perf_counter() - started}))
"""


def main() -> None:
    """Measure and record."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--nncodec", type=Path, default=HERE.parent / ".nncodec" / "bin" / "python")
    arguments = parser.parse_args()
    losses = {}
    for draw in ("laplace", "normal"):
        for scale in _SCALES:
            losses[f"{draw}, class {scale}"] = run = _loss(draw, scale)
            print(draw, scale, json.dumps(run), flush=True)
    runs = {}
    for network in _NETWORKS:
        layers = list(_layers(network, "normal", _SCALE_OF_A_TENTH))
        runs[network] = _speed(layers)
        print(network, json.dumps(runs[network]), flush=True)
        if network == _WITH_NNCODEC and arguments.nncodec.exists():
            runs[network]["nncodec"] = _nncodec(layers, runs[network]["bytes"], arguments.nncodec)
            print(network, json.dumps(runs[network]["nncodec"]), flush=True)
    result = {"machine": describe_machine(), "losses": losses, "speed": runs}
    (RESULTS / "lanes.json").write_text(json.dumps(result, indent=2) + "\n")


def _loss(draw: str, scale: int) -> dict[str, float]:
    """Return bits per weight of all streams and of the ideal code, for the large layers of ResNet50."""
    layers = [layer for layer in _layers("resnet50", draw, scale) if layer.shape.weights > 1_000_000]
    weights = sum(layer.shape.weights for layer in layers)
    streams = pack_layers(layers)
    ideal = sum(_ideal_bits(layer, draw) for layer in layers)
    integers = 8 * sum(map(len, streams[2:]))
    return {
        "ideal": round(ideal / weights, 4),
        "integers": round(integers / weights, 4),
        "loss_percent": round(100 * (integers / ideal - 1), 3),
        "with_tables": round(8 * sum(map(len, streams)) / weights, 4),
    }


def _speed(layers: list[CodedLayer]) -> dict[str, Any]:
    """Return seconds and millions of weights per second."""
    weights = sum(layer.shape.weights for layer in layers)
    shapes = [layer.shape for layer in layers]
    streams = pack_layers(layers)
    types = [WeightType.FLOAT32] * len(layers)

    def decode(backend: Backend) -> None:
        decode_layers(open_layers(streams, shapes, backend), types, backend)

    result: dict[str, Any] = {
        "weights": weights,
        "bytes": sum(map(len, streams)),
        "bits_per_weight": round(8 * sum(map(len, streams)) / weights, 3),
    }
    for name, backend in (("compiled", fastest_backend()), ("numpy", numpy_backend())):
        decode(backend)
        seconds = {
            "encode": best_seconds(lambda backend=backend: pack_layers(layers, backend), _REPETITIONS, _MOST_SECONDS),  # type: ignore[misc]
            "decode": best_seconds(lambda backend=backend: decode(backend), _REPETITIONS, _MOST_SECONDS),  # type: ignore[misc]
        }
        result[name] = {
            work: {"seconds": round(spent, 4), "million_per_second": round(weights / spent / 1e6, 1)}
            for work, spent in seconds.items()
        }
    return result


def _nncodec(layers: list[CodedLayer], size: int, interpreter: Path) -> dict[str, Any]:
    """Return the size and the seconds of NNCodec for the decoded weights."""
    streams = pack_layers(layers)
    packed = open_layers(streams, [layer.shape for layer in layers])
    weights = decode_layers(packed, [WeightType.FLOAT32] * len(layers))
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "in.safetensors"
        # NNCodec quantizes vectors in another way, so kernels keep their axes.
        tensors = {
            f"layer{index}.weight": array.reshape(*array.shape[:2], *(layer.sides if array.shape[2] > 1 else ()))
            for index, (array, layer) in enumerate(zip(weights, layers, strict=True))
        }
        safetensors.numpy.save_file(tensors, path)
        command = [str(interpreter), "-c", _NNCODEC, str(path), str(size), folder, str(_BASELINES)]
        output = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    result: dict[str, Any] = json.loads(output.splitlines()[-1])
    count = sum(layer.shape.weights for layer in layers)
    return {**result, "million_per_second": round(count / result["seconds"] / 1e6, 2)}


def _layers(network: str, draw: str, scale: int) -> Iterator[CodedLayer]:
    """Yield layers with the shapes of a network's matrices and kernels."""
    generator = np.random.default_rng(0)
    for tensor in random_tensors(network).values():
        if tensor.ndim in {2, 4}:
            filters, channels, *sides = tensor.shape
            yield _layer(generator, filters, channels, tuple(sides) or (1,), draw, scale)


def _layer(
    generator: np.random.Generator, filters: int, channels: int, sides: tuple[int, ...], draw: str, scale: int
) -> CodedLayer:
    def table(middle: float, deviation: float, size: int) -> np.ndarray[tuple[int, ...], np.dtype[np.int32]]:
        return np.rint(generator.normal(middle, deviation if size > 1 else 0, size)).astype(np.int32)

    positions = math.prod(sides)
    exponents = CoordinateTables(table(-60, 2, filters), np.zeros(channels, np.int32), table(0, 2, positions))
    scales = CoordinateTables(table(scale, 1, filters), table(0, 1, channels), table(0, 2, positions))
    tables = LayerTables(exponents, scales, is_transformed=positions > 1)
    magnitudes = _magnitudes(tables)
    numbers = generator.laplace(0, magnitudes) if draw == "laplace" else generator.normal(0, magnitudes * 1.2533)
    return CodedLayer(np.rint(numbers).astype(np.int32), tables, sides)


def _magnitudes(tables: LayerTables) -> np.ndarray[tuple[int, ...], np.dtype[np.float64]]:
    """Return the mean magnitude of each number before it is rounded."""
    return np.exp2((tables.classes() - 24.0) / 3)


def _ideal_bits(layer: CodedLayer, draw: str) -> float:
    """Return the entropy of all integers, given their distributions."""
    total = 0.0
    classes, counts = np.unique(layer.tables.classes(), return_counts=True)
    for index, count in zip(classes.tolist(), counts.tolist(), strict=True):
        magnitude = 2 ** ((index - 24) / 3)
        edges = np.arange(math.ceil(40 * magnitude) + 2) - 0.5
        above = (
            0.5 * np.exp(-edges[1:] / magnitude)
            if draw == "laplace"
            else np.array([0.5 * math.erfc(edge / (magnitude * 1.2533 * math.sqrt(2))) for edge in edges[1:]])
        )
        of_one_sign = np.append(-np.diff(above), above[-1])
        shares = np.concatenate([[1 - 2 * above[0]], of_one_sign, of_one_sign])
        shares = shares[shares > 0]
        total -= count * float(shares @ np.log2(shares))
    return total


if __name__ == "__main__":
    main()
