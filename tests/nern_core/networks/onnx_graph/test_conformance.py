"""ONNX's own tests of operators, run for those that are supported."""

import warnings
from typing import Any

import numpy as np
import pytest
import torch
from onnx import numpy_helper

from nern_core.contract.errors import NernError
from nern_core.networks.onnx_graph.graph import read_graph
from nern_core.networks.onnx_graph.network import OnnxNetwork
from nern_core.tensors.onnx_files import names_in_modules, weight_slots

# Where onnxruntime computes something else than the reference, and the network what onnxruntime computes.
AS_ONNXRUNTIME = {
    "test_resize_downsample_scales_linear_align_corners",
    "test_resize_downsample_scales_cubic_align_corners",
}
# Kinds of numbers that torch hardly computes with.
TYPES = {"float16", "float32", "float64", "int8", "int16", "int32", "int64", "uint8", "bool"}
FEWEST = 1300


def network(model: Any) -> OnnxNetwork:
    program, opset = read_graph(model)
    slots = dict(weight_slots(model))
    names = names_in_modules(slots)
    tensors = {names[name]: torch.from_numpy(numpy_helper.to_array(slot).copy()) for name, slot in slots.items()}
    return OnnxNetwork(program, opset, names, tensors)


def is_right(found: Any, wanted: Any) -> bool:
    exact = 1e-2 if wanted.dtype == np.float16 else 1e-3
    return found.shape == wanted.shape and np.allclose(
        found.astype(np.float64), wanted.astype(np.float64), rtol=exact, atol=exact / 100, equal_nan=True
    )


@pytest.mark.slow
def test_supported_operators_pass_the_tests_of_onnx() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from onnx.backend.test.case.node import collect_testcases

        cases: list[Any] = [case for case in collect_testcases(None) if case.model is not None]
    passed, wrong = 0, []
    for case in cases:
        for inputs, outputs in case.data_sets or ():
            if not all(getattr(getattr(value, "dtype", None), "name", "") in TYPES for value in (*inputs, *outputs)):
                continue
            arrays = [np.asarray(value) for value in inputs]
            given = {
                of.name: torch.from_numpy(array.copy())
                for of, array in zip(case.model.graph.input, arrays, strict=False)
            }
            try:
                found = network(case.model)(**given)
            except NernError:
                continue
            wanted = dict(zip([of.name for of in case.model.graph.output], outputs, strict=True))
            if all(is_right(found[name].detach().numpy(), np.asarray(value)) for name, value in wanted.items() if name):
                passed += 1
            elif case.name not in AS_ONNXRUNTIME:
                wrong.append(case.name)
    assert wrong == []
    assert passed >= FEWEST
