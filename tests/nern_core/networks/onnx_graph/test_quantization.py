"""Quantized models compute what onnxruntime computes, and gradients pass through their rounding."""

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from onnx import helper, numpy_helper

import nern_core
from nern_core.contract.errors import NernError
from nern_core.contract.options import EncodeOptions
from tests.onnx_models import answers, model_of, network_of, saved, weights

CLOSE = 1e-5


def numbers(*shape: int) -> Any:
    return np.random.default_rng(1).normal(size=shape).astype("float32")


def constant(name: str, values: Any, dtype: str = "float32") -> Any:
    return numpy_helper.from_array(np.array(values, dtype), name)


def node(operator: str, *names: str, **attributes: Any) -> Any:
    *inputs, output = names
    return helper.make_node(operator, inputs, [output], **attributes)


def quantized(*, float_weight: bool) -> Any:
    """Return a model with quantized inputs and weights; the weight of the last layer is float32, if requested."""
    integers = np.random.default_rng(0).integers(-127, 128, (6, 3, 3, 3))
    held = [
        constant("w.q", integers, "int8"),
        constant("w.scale", np.linspace(0.01, 0.02, 6)),
        constant("w.zero", [0] * 6, "int8"),
        constant("x.scale", 0.02),
        constant("x.zero", 120, "uint8"),
        *weights(head=(6, 6)),
        constant("head.scale", 0.01),
        constant("head.zero", 0, "int8"),
    ]
    nodes = [
        node("QuantizeLinear", "x", "x.scale", "x.zero", "x.q"),
        node("DequantizeLinear", "x.q", "x.scale", "x.zero", "x.d"),
        node("DequantizeLinear", "w.q", "w.scale", "w.zero", "w", axis=0),
        node("Conv", "x.d", "w", "c"),
        node("GlobalAveragePool", "c", "p"),
        node("Flatten", "p", "f"),
    ]
    if float_weight:
        nodes += [
            node("QuantizeLinear", "head", "head.scale", "head.zero", "head.q"),
            node("DequantizeLinear", "head.q", "head.scale", "head.zero", "head.d"),
            node("MatMul", "f", "head.d", "y"),
        ]
    else:
        nodes, held = [*nodes, node("Identity", "f", "y")], held[:5]
    return model_of(nodes, held)


def test_integers_are_multiplied_by_their_scales(tmp_path: Path) -> None:
    path, x = saved(quantized(float_weight=True), tmp_path), numbers(2, 3, 8, 8)
    options = onnxruntime.SessionOptions()
    # Its faster operators for quantized models are less exact.
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    (wanted,) = onnxruntime.InferenceSession(str(path), options).run(None, {"x": x})
    found = network_of(path)(torch.from_numpy(x))["y"].detach().numpy()
    np.testing.assert_allclose(found, wanted, rtol=CLOSE, atol=CLOSE)


def test_scales_are_kept_and_gradients_pass_through_rounding(tmp_path: Path) -> None:
    network = network_of(saved(quantized(float_weight=True), tmp_path))
    assert [name for name, _ in network.named_parameters()] == ["head"]
    x = torch.from_numpy(numbers(2, 3, 8, 8)).requires_grad_()
    network(x)["y"].square().sum().backward()
    for tensor in (x, *network.parameters()):
        assert tensor.grad is not None
        assert tensor.grad.abs().sum() > 0


def test_a_model_with_integers_only_has_nothing_to_encode(tmp_path: Path) -> None:
    path = saved(quantized(float_weight=False), tmp_path)
    with pytest.raises(NernError) as error:
        nern_core.encode(path, tmp_path / "x.nern")
    assert error.value.code == "no_kernels"


def test_integers_come_back_unchanged(tmp_path: Path) -> None:
    path = saved(quantized(float_weight=True), tmp_path)
    inputs = [torch.from_numpy(numbers(4, 3, 8, 8)) for _ in range(4)]
    nern_core.encode(path, tmp_path / "x.nern", EncodeOptions(steps=3), inputs=inputs)
    nern_core.write_checkpoint(nern_core.decode(tmp_path / "x.nern"), tmp_path / "back.onnx")
    found, wanted = (
        {of.name: of for of in onnx.load(file).graph.initializer} for file in (tmp_path / "back.onnx", path)
    )
    for name in ("w.q", "w.scale", "x.scale", "head.scale"):
        np.testing.assert_array_equal(numpy_helper.to_array(found[name]), numpy_helper.to_array(wanted[name]))


@pytest.mark.parametrize("is_training", [False, True])
def test_inputs_are_quantized_by_their_range(is_training: bool, tmp_path: Path) -> None:
    # Larger integers overflow in onnxruntime on processors without certain instructions.
    held = [constant("w", np.random.default_rng(0).integers(-63, 64, (8, 4)), "int8"), constant("z", 3, "int8")]
    nodes = [
        helper.make_node("DynamicQuantizeLinear", ["x"], ["q", "s", "zero"]),
        node("MatMulInteger", "q", "w", "zero", "z", "i"),
        node("Cast", "i", "f", to=1),
        node("Mul", "f", "s", "y"),
    ]
    path, x = saved(model_of(nodes, held), tmp_path), numbers(5, 8)
    found = network_of(path)(torch.from_numpy(x).requires_grad_(is_training))["y"]
    assert found.requires_grad is is_training
    np.testing.assert_allclose(found.detach().numpy(), answers(path, {"x": x})["y"], rtol=1e-4, atol=1e-4)
