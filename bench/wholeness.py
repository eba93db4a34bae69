"""Is a network that was encoded and decoded whole? Its files tell; of the report, only the parts are checked."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import onnxruntime
import torch
from torch import Tensor
from torch.utils._pytree import tree_leaves

import nern_core
from bench.three_ways import Outcome
from bench.zoo_network import Tensors, ZooNetwork, loaded, tensors_of


@dataclass(frozen=True, kw_only=True, slots=True)
class Examination:
    """The faults of a reconstruction, none if it is whole, and the relative error of its outputs on other inputs."""

    faults: tuple[str, ...]
    output_error: float | None = None


def examine(network: ZooNetwork, outcome: Outcome) -> Examination:
    """Check the tensors, the network with them, its outputs, and the parts of the report."""
    original, decoded = outcome.original, tensors_of(outcome.decoded)
    faults = [*_faults_of_tensors(original, decoded, nern_core.decode(outcome.encoding).tensors)]
    faults += _faults_of_report(outcome)
    if faults:
        return Examination(faults=tuple(faults))
    wanted = _outputs(network, network.checkpoint, original)
    got = _outputs(network, outcome.decoded, decoded)
    if not got.isfinite().all():
        return Examination(faults=("its outputs are not finite",))
    return Examination(faults=(), output_error=float((got - wanted).norm() / wanted.norm()))


def _faults_of_tensors(original: Tensors, decoded: Tensors, expected: Tensors) -> list[str]:
    """Compare names, shapes and types with the original, and values with those that the library decodes."""
    if missing := original.keys() ^ decoded.keys():
        return [f"other names: {sorted(missing)}"]
    faults = []
    for name, tensor in decoded.items():
        if tensor.shape != original[name].shape or tensor.dtype != original[name].dtype:
            faults.append(f"{name} is {tensor.dtype} {tuple(tensor.shape)}")
        elif not tensor.isfinite().all():
            faults.append(f"{name} is not finite")
        elif not torch.equal(tensor, expected[name]):
            faults.append(f"{name} is not what the library decodes")
    return faults


def _faults_of_report(outcome: Outcome) -> list[str]:
    metrics, faults = outcome.metrics, []
    if metrics["file_bytes"] != outcome.encoding.stat().st_size:
        faults.append(f"the report says {metrics['file_bytes']} bytes")
    if metrics["fidelity"] is None and metrics["reconstructed_accuracy"] is None:
        faults.append("neither fidelity nor accuracy is reported")
    if not metrics["verdict"]:
        faults.append("there is no verdict")
    return faults


@torch.no_grad()
def _outputs(network: ZooNetwork, path: Path, tensors: Tensors) -> Tensor:
    """Return all outputs for the test inputs: by onnxruntime for an ONNX file, else by a fresh network."""
    inputs = {name: tensor for name, tensor in network.test_inputs.items() if name != "labels"}
    if network.build is None:
        session = onnxruntime.InferenceSession(str(path))
        arrays: list[Any] = session.run(None, {name: tensor.numpy() for name, tensor in inputs.items()})
        return torch.cat([torch.from_numpy(array).flatten().float() for array in arrays])
    outputs = tree_leaves(loaded(network.build(), tensors)(**inputs))
    return torch.cat([leaf.flatten().float() for leaf in outputs if isinstance(leaf, Tensor)])
