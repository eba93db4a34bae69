"""Duration of the ordering: chains of random kernels, and all layers of a ResNet-18.

python -m bench.ordering writes bench/results/ordering.json. Random directions are the hardest to chain: in nine
dimensions they have no structure that a search could use. The published algorithm, which checks all kernels in every
step, is also measured, up to 32,768 kernels. Both give the same chain.
"""

import json
import time
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bench.assets import RESULTS
from bench.machine import describe_machine
from bench.random_networks import random_tensors
from nern_core.contract.options import Permutation
from nern_core.representations.predicted.greedy_chain import greedy_chain, greedy_unit_chain
from nern_core.representations.predicted.permutation import order_kernels
from nern_core.tensors.kernels import cut, select_layers

_COUNTS = (4_096, 16_384, 32_768, 65_536, 262_144)
_MOST_LOOKED_AT_ALL = 32_768


def main() -> None:
    """Measure and record."""
    greedy_unit_chain(_random_units(4096))  # compile
    chains = [_measure_chain(count) for count in _COUNTS]
    network = _measure_resnet18()
    result = {"machine": describe_machine(), "random_kernels": chains, "resnet18": network}
    (RESULTS / "ordering.json").write_text(json.dumps(result, indent=2) + "\n")


def _measure_chain(count: int) -> dict[str, Any]:
    units = _random_units(count)
    chain, seconds = _timed(greedy_unit_chain, units)
    result: dict[str, Any] = {"kernels": count, "seconds": round(seconds, 3)}
    if count <= _MOST_LOOKED_AT_ALL:
        plain, plain_seconds = _timed(greedy_chain, units)
        if not np.array_equal(chain, plain):
            raise AssertionError("the two chains differ")
        result |= {"seconds_looking_at_all": round(plain_seconds, 3), "ratio": round(plain_seconds / seconds, 1)}
    print(json.dumps(result), flush=True)
    return result


def _measure_resnet18() -> dict[str, Any]:
    """Measure all 3x3 layers with freshly initialized, random weights."""
    tensors = random_tensors("resnet18")
    layers = select_layers(tensors)
    started = time.perf_counter()
    for layer in layers:
        order_kernels(cut(tensors[layer.name], layer), layer.filters, Permutation.CROSS_FILTER)
    seconds = time.perf_counter() - started
    result = {"kernels": sum(layer.kernels for layer in layers), "seconds": round(seconds, 1)}
    print(json.dumps(result), flush=True)
    return result


def _random_units(count: int) -> NDArray[np.float32]:
    kernels = np.random.default_rng(0).standard_normal((count, 9)).astype(np.float32)
    units: NDArray[np.float32] = kernels / np.linalg.norm(kernels, axis=1, keepdims=True)
    return units


def _timed(
    chain: Callable[[NDArray[np.float32]], NDArray[np.int64]], units: NDArray[np.float32]
) -> tuple[NDArray[np.int64], float]:
    started = time.perf_counter()
    order = chain(units)
    return order, time.perf_counter() - started


if __name__ == "__main__":
    main()
