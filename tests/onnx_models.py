"""Small ONNX models, and their answers by onnxruntime."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import torch
from onnx import TensorProto, helper, numpy_helper
from torch import Tensor

from nern_core.networks.onnx_graph import OnnxNetwork, build_onnx_network
from nern_core.tensors.onnx_files import read_onnx

onnxruntime.set_default_logger_severity(3)
FREE = "batch"


def weights(seed: int = 0, **shapes: Any) -> list[TensorProto]:
    """Return float32 initializers of these shapes."""
    random = np.random.default_rng(seed)
    return [
        numpy_helper.from_array(random.normal(0, 0.3, shape).astype("float32"), name) for name, shape in shapes.items()
    ]


def model_of(
    nodes: Sequence[Any],
    initializers: Sequence[TensorProto] = (),
    inputs: Mapping[str, Sequence[int | str] | None] | None = None,
    outputs: Sequence[str] = ("y",),
    opset: int = 17,
) -> Any:
    """Return a model with inputs of float32."""
    given = {"x": None} if inputs is None else inputs
    graph = helper.make_graph(
        list(nodes),
        "graph",
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, shape) for name, shape in given.items()],
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, None) for name in outputs],
        list(initializers),
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=8)


def small_model(batch: int | str = FREE) -> Any:
    """Return a classifier of images (batch, 3, 8, 8) with convolutions, a scale of one value, and a matrix."""
    nodes = [
        helper.make_node("Conv", ["x", "stem.weight", "stem.bias"], ["a"], pads=[1, 1, 1, 1]),
        helper.make_node("Relu", ["a"], ["b"]),
        helper.make_node("Mul", ["b", "scale"], ["c"]),
        helper.make_node("Conv", ["c", "body.weight"], ["d"], strides=[2, 2]),
        helper.make_node("GlobalAveragePool", ["d"], ["e"]),
        helper.make_node("Flatten", ["e"], ["f"]),
        helper.make_node("Gemm", ["f", "head.weight", "head.bias"], ["logits"], transB=1),
    ]
    shapes: dict[str, Any] = {"stem.weight": (16, 3, 3, 3), "stem.bias": (16,), "scale": (1,)}
    shapes |= {"body.weight": (24, 16, 3, 3), "head.weight": (10, 24), "head.bias": (10,)}
    held = weights(**shapes)
    return model_of(nodes, held, {"x": [batch, 3, 8, 8]}, ["logits"])


def saved(model: Any, folder: Path, name: str = "network.onnx") -> Path:
    """Write a model to a file."""
    path = folder / name
    onnx.save(model, path)
    return path


def answers(path: Path, inputs: Mapping[str, Any]) -> dict[str, Any]:
    """Return the outputs of a file by onnxruntime."""
    session = onnxruntime.InferenceSession(str(path))
    names = [output.name for output in session.get_outputs()]
    return dict(zip(names, session.run(None, dict(inputs)), strict=True))


def network_of(path: Path) -> OnnxNetwork:
    """Build the network of a file."""
    with path.open("rb") as file:
        tensors, _, graph = read_onnx(file, path)
    return build_onnx_network(graph, tensors)


def differences(path: Path, inputs: Mapping[str, Any]) -> dict[str, float]:
    """Return the relative error of each output of the network against onnxruntime."""
    with torch.no_grad():
        found = network_of(path)(**{name: torch.from_numpy(np.asarray(value)) for name, value in inputs.items()})
    return {name: _relative_error(found[name], wanted) for name, wanted in answers(path, inputs).items()}


def _relative_error(found: Tensor, wanted: Any) -> float:
    error, size = np.linalg.norm(found.numpy().ravel() - wanted.ravel()), np.linalg.norm(wanted)
    return float(error) / max(float(size), 1e-12)
