"""Graphs with operators that fail: errors that name the operator, whatever it raises."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from onnx import TensorProto, helper, numpy_helper

import nern_core
from nern_core import EncodeOptions, NernError
from tests.onnx_models import model_of, network_of, saved, weights


def node(operator: str, *inputs: str, **attributes: Any) -> Any:
    return helper.make_node(operator, list(inputs), ["y"], **attributes)


def body() -> Any:
    output = helper.make_tensor_value_info("z", TensorProto.FLOAT, None)
    return helper.make_graph([helper.make_node("Identity", ["h"], ["z"])], "body", [], [output])


def data(folder: Path, values: Any) -> EncodeOptions:
    np.savez(folder / "d.npz", **{"inputs.x": values})
    return EncodeOptions(dataset=str(folder / "d.npz"), steps=6)


CASES: dict[str, tuple[list[Any], str]] = {
    "no attribute": ([node("DepthToSpace", "h")], "'DepthToSpace' fails: "),
    "a division by zero": ([node("Split", "h", num_outputs=0, axis=0)], "'Split' fails: integer division"),
    "too few inputs": ([node("Gemm", "h")], "'Gemm' fails: gemm() missing 1 required positional argument: 'b'"),
    "too many inputs": ([node("Relu", "h", "h", "h")], "'Relu' fails: "),
    "an attribute of another type": ([node("Concat", "h", "h", axis="all")], "'Concat' fails: "),
    "no body": ([node("Loop", "most", "yes", "h")], "'Loop' fails: it has no 'body'"),
    "no branch": ([node("If", "no", then_branch=body())], "'If' fails: it has no 'else_branch'"),
    "no scanned inputs": ([node("Scan", "h", body=body())], "'Scan' fails: it has no 'num_scan_inputs'"),
    "a sequence in place of a tensor": (
        [helper.make_node("SequenceConstruct", ["h", "h"], ["s"]), node("Relu", "s")],
        "'Relu' fails: ",
    ),
}


@pytest.mark.parametrize("batch", [1, "batch"])
@pytest.mark.parametrize("case", CASES)
def test_an_operator_that_fails_is_named(case: str, batch: int | str, tmp_path: Path) -> None:
    nodes, message = CASES[case]
    constants = [numpy_helper.from_array(np.array(value), name) for name, value in (("yes", True), ("no", False))]
    constants.append(numpy_helper.from_array(np.array(3), "most"))
    first = helper.make_node("MatMul", ["x", "w"], ["h"])
    made = model_of([first, *nodes], [*weights(w=(16, 16)), *constants], {"x": (batch, 16)}, opset=18)
    with pytest.raises(NernError) as error:
        nern_core.encode(saved(made, tmp_path), tmp_path / "x.nern", data(tmp_path, np.ones((64, 16), "float32")))
    assert error.value.code == "bad_data"
    assert error.value.message.startswith(f"The network does not accept the inputs: its operator {message}")
    assert error.value.message.endswith(".")


def test_an_operator_that_fails_for_a_later_batch_is_named_with_it(tmp_path: Path) -> None:
    shape = numpy_helper.from_array(np.array([7, 7]), "shape")
    limit = numpy_helper.from_array(np.array(50, "float32"), "limit")
    branches = [
        helper.make_graph([made], "branch", [], [helper.make_tensor_value_info("z", TensorProto.FLOAT, None)])
        for made in (helper.make_node("Reshape", ["h", "shape"], ["z"]), helper.make_node("Identity", ["h"], ["z"]))
    ]
    nodes = [
        helper.make_node("MatMul", ["x", "w"], ["h"]),
        helper.make_node("ReduceMax", ["x"], ["most"], keepdims=0),
        helper.make_node("Greater", ["most", "limit"], ["is_large"]),
        node("If", "is_large", then_branch=branches[0], else_branch=branches[1]),
    ]
    made = model_of(nodes, [*weights(w=(16, 16)), shape, limit], {"x": ("batch", 16)})
    batches = [{"x": torch.ones(8, 16)} for _ in range(12)]
    batches[8]["x"][0, 0] = 100
    with pytest.raises(NernError) as error:
        nern_core.encode(saved(made, tmp_path), tmp_path / "x.nern", EncodeOptions(steps=90), inputs=batches)
    assert error.value.message == (
        "The network does not accept batch 9 of the inputs: its operator 'Reshape' fails: shape '[7, 7]' is invalid "
        "for input of size 128."
    )


def test_a_graph_whose_weights_are_all_exact_is_encoded_with_data(tmp_path: Path) -> None:
    made = model_of([node("Pow", "x", "w")], weights(w=(16, 16)), {"x": ("batch", 16, 16)})
    path = tmp_path / "x.nern"
    nern_core.encode(saved(made, tmp_path), path, data(tmp_path, np.ones((64, 16, 16), "float32")))
    assert list(nern_core.decode(path).tensors) == ["w"]


def test_a_function_that_cannot_be_inlined_is_refused(tmp_path: Path) -> None:
    own = helper.make_function(
        "own", "F", ["a"], ["b"], [helper.make_node("Dropout", [], ["b"])], [helper.make_opsetid("", 10)]
    )
    made = model_of([helper.make_node("F", ["x"], ["y"], domain="own")], weights(w=(4, 4)), opset=21)
    made.opset_import.append(helper.make_opsetid("own", 1))
    made.functions.append(own)
    with pytest.raises(NernError, match="has functions of its own, 'F', that cannot be inlined") as error:
        network_of(saved(made, tmp_path))
    assert error.value.code == "unsupported_format"


def test_fewer_examples_than_a_graph_takes_at_once_are_refused(tmp_path: Path) -> None:
    made = model_of([node("MatMul", "x", "w")], weights(w=(16, 16)), {"x": (500, 16)})
    with pytest.raises(NernError, match="takes 500 examples at once, and the data set has fewer; add some") as error:
        nern_core.encode(saved(made, tmp_path), tmp_path / "x.nern", data(tmp_path, np.ones((64, 16), "float32")))
    assert error.value.code == "bad_data"
