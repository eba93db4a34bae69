"""Functions that a model defines itself."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from onnx import helper, numpy_helper

from nern_core.contract.errors import NernError
from tests.onnx_models import differences, model_of, network_of, saved, weights

DOMAIN = "own.example"


def function(name: str, *nodes: Any) -> Any:
    """Return a function of `a` that gives `b`."""
    versions = [helper.make_opsetid("", 17), helper.make_opsetid(DOMAIN, 1)]
    return helper.make_function(DOMAIN, name, ["a"], ["b"], list(nodes), versions)


def call(name: str, source: str, result: str) -> Any:
    return helper.make_node(name, [source], [result], domain=DOMAIN)


def model(nodes: Any, *functions: Any) -> Any:
    made = model_of(nodes, weights(w=(4, 4)))
    made.opset_import.append(helper.make_opsetid(DOMAIN, 1))
    made.functions.extend(functions)
    return made


def test_functions_are_computed_and_their_constants_are_no_weights(tmp_path: Path) -> None:
    values = numpy_helper.from_array(np.array([1, 2, 3, 4], "float32"))
    scaled = function(
        "Scaled",
        helper.make_node("Constant", [], ["c"], value=values),
        helper.make_node("Mul", ["a", "c"], ["d"]),
        call("Positive", "d", "b"),
    )
    positive = function("Positive", helper.make_node("Relu", ["a"], ["b"]))
    nodes = [call("Scaled", "x", "h"), helper.make_node("MatMul", ["h", "w"], ["m"]), call("Scaled", "m", "y")]
    path = saved(model(nodes, scaled, positive), tmp_path)
    assert [name for name, _ in network_of(path).named_parameters()] == ["w"]
    x = np.random.default_rng(0).normal(size=(3, 4)).astype("float32")
    assert differences(path, {"x": x})["y"] < 1e-5


def test_a_function_that_calls_itself_is_refused_by_name(tmp_path: Path) -> None:
    path = saved(model([call("Endless", "x", "y")], function("Endless", call("Endless", "a", "b"))), tmp_path)
    with pytest.raises(NernError, match="has a function 'Endless' that calls itself; export it without") as error:
        network_of(path)
    assert error.value.code == "unsupported_format"


def test_functions_that_take_too_much_room_are_refused(tmp_path: Path) -> None:
    each = [
        function(f"F{depth}", call(f"F{depth + 1}", "a", "c"), call(f"F{depth + 1}", "c", "b")) for depth in range(40)
    ]
    last = function("F40", helper.make_node("Relu", ["a"], ["b"]))
    path = saved(model([call("F0", "x", "y")], *each, last), tmp_path)
    with pytest.raises(NernError, match=r"has functions that take [\d,]+ bytes, more than") as error:
        network_of(path)
    assert error.value.code == "unsupported_format"


def test_functions_that_call_each_other_too_deep_are_refused(tmp_path: Path) -> None:
    each = [function(f"F{depth}", call(f"F{depth + 1}", "a", "b")) for depth in range(3000)]
    last = function("F3000", helper.make_node("Relu", ["a"], ["b"]))
    path = saved(model([call("F0", "x", "y")], *each, last), tmp_path)
    with pytest.raises(NernError, match="has functions that call each other more than 50 deep"):
        network_of(path)
