"""Operators that onnxruntime's optimizer writes compute what onnxruntime computes."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from onnx import TensorProto, helper, numpy_helper

from tests.onnx_models import differences, model_of, saved, weights

CLOSE = 1e-5
TYPE_OF_LENGTHS = "int32"


def numbers(*shape: int) -> Any:
    return np.random.default_rng(1).normal(size=shape).astype("float32")


def fused(operator: str, *inputs: str, **attributes: Any) -> Any:
    return helper.make_node(operator, ["x", *inputs], ["y"], domain="com.microsoft", **attributes)


def integers(name: str, *values: Any) -> TensorProto:
    return numpy_helper.from_array(np.array(values, TYPE_OF_LENGTHS), name)


IMAGE: Any = {"w": (4, 2, 3, 3), "b": (4,)}
MIXED: Any = {"w": (8, 24), "b": (24,)}
NORMED: Any = {"skip": (2, 3, 8), "s": (8,), "t": (8,), "b": (8,)}
PADDED = [[1, 1, 1, 0, 0], [1, 1, 1, 1, 1]]

# Name of the case: node, initializers, shape of the input.
CASES: dict[str, tuple[Any, list[TensorProto], tuple[int, ...]]] = {
    "convolution": (fused("FusedConv", "w", "b", activation="Relu"), weights(**IMAGE), (1, 2, 6, 7)),
    "convolution with parameters": (
        fused("FusedConv", "w", activation="LeakyRelu", activation_params=[0.2]),
        weights(w=(4, 2, 3, 3)),
        (1, 2, 6, 7),
    ),
    "matrix product with a bias": (
        fused("FusedGemm", "w", "b", transB=1, activation="LeakyRelu", activation_alpha=0.3),
        weights(w=(5, 4), b=(5,)),
        (3, 4),
    ),
    "product of transposed matrices": (
        fused("FusedMatMul", "w", transA=1, transB=1, alpha=0.5),
        weights(w=(2, 5, 3)),
        (2, 3, 4),
    ),
    "product with batches inside": (fused("FusedMatMul", "w", transBatchA=1), weights(w=(2, 4, 5)), (3, 2, 4)),
    "gelu": (fused("Gelu"), [], (2, 5)),
    "gelu after a bias": (fused("BiasGelu", "b"), weights(b=(5,)), (2, 5)),
    "fast gelu": (fused("FastGelu", "b"), weights(b=(5,)), (2, 5)),
    "quick gelu": (fused("QuickGelu", alpha=1.5), [], (2, 5)),
    "normalization of a sum": (
        fused("SkipLayerNormalization", "skip", "s", "t", "b", epsilon=1e-5),
        weights(**NORMED),
        (2, 3, 8),
    ),
    "rms normalization of a sum": (
        fused("SkipSimplifiedLayerNormalization", "skip", "s", epsilon=1e-5),
        weights(skip=(2, 3, 8), s=(8,)),
        (2, 3, 8),
    ),
    "attention": (fused("Attention", "w", "b", num_heads=2), weights(**MIXED), (2, 5, 8)),
    "attention to earlier values": (
        fused("Attention", "w", "b", num_heads=2, unidirectional=1),
        weights(**MIXED),
        (2, 5, 8),
    ),
    "attention with a mask": (
        fused("Attention", "w", "b", "m", num_heads=2),
        [*weights(**MIXED), integers("m", *PADDED)],
        (2, 5, 8),
    ),
    "attention with lengths": (
        fused("Attention", "w", "b", "m", num_heads=2),
        [*weights(**MIXED), integers("m", 3, 5)],
        (2, 5, 8),
    ),
    "attention to other values": (
        fused("MultiHeadAttention", "k", "v", "b", num_heads=2),
        weights(k=(2, 6, 8), v=(2, 6, 8), b=(24,)),
        (2, 5, 8),
    ),
}


@pytest.mark.parametrize("case", CASES)
def test_an_operator_gives_what_onnxruntime_gives(case: str, tmp_path: Path) -> None:
    of, held, shape = CASES[case]
    model = model_of([of], held)
    model.opset_import.append(helper.make_opsetid("com.microsoft", 1))
    assert differences(saved(model, tmp_path), {"x": numbers(*shape)})["y"] < CLOSE


def test_embeddings_are_summed_and_normalized(tmp_path: Path) -> None:
    shapes: dict[str, Any] = {"words": (9, 8), "places": (6, 8), "kinds": (2, 8), "s": (8,), "t": (8,)}
    held = [*weights(**shapes), integers("segments", [0, 1, 1], [1, 0, 0])]
    inputs = ["ids", "segments", "words", "places", "kinds", "s", "t"]
    nodes = [
        helper.make_node("Cast", ["x"], ["ids"], to=TensorProto.INT32),
        helper.make_node("EmbedLayerNormalization", inputs, ["y", "lengths"], domain="com.microsoft"),
    ]
    model = model_of(nodes, held)
    model.opset_import.append(helper.make_opsetid("com.microsoft", 1))
    x = np.array([[1, 8, 0], [3, 3, 5]], "float32")
    assert differences(saved(model, tmp_path), {"x": x})["y"] < CLOSE
