"""Networks of ONNX files compute what onnxruntime computes, and can be trained."""

import copy
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from onnx import TensorProto, helper, numpy_helper
from torch import nn

from nern_core.contract.errors import NernError
from tests.onnx_models import answers, differences, model_of, network_of, saved, small_model, weights

CLOSE = 1e-5


def numbers(*shape: int, seed: int = 1) -> Any:
    return np.random.default_rng(seed).normal(size=shape).astype("float32")


def node(operator: str, *inputs: str, **attributes: Any) -> Any:
    return helper.make_node(operator, ["x", *inputs], ["y"], **attributes)


def constant(name: str, *values: float, dtype: str = "int64") -> TensorProto:
    return numpy_helper.from_array(np.array(values, dtype), name)


# Name of the case: node, initializers, input.
NODES: dict[str, tuple[Any, list[TensorProto], Any]] = {
    "asymmetric pads of a convolution": (
        node("Conv", "w", pads=[0, 1, 2, 1], group=2),
        weights(w=(4, 2, 3, 3)),
        numbers(2, 4, 7, 8),
    ),
    "same pads": (
        node("Conv", "w", auto_pad="SAME_UPPER", strides=[2, 2]),
        weights(w=(4, 2, 3, 3)),
        numbers(1, 2, 7, 8),
    ),
    "transposed convolution": (
        node("ConvTranspose", "w", strides=[2, 2], pads=[1, 0, 1, 2], output_padding=[1, 1]),
        weights(w=(2, 3, 3, 3)),
        numbers(1, 2, 5, 6),
    ),
    "pooling that rounds up": (
        node("AveragePool", kernel_shape=[3, 3], strides=[2, 2], pads=[0, 1, 1, 1], ceil_mode=1),
        [],
        numbers(1, 2, 8, 9),
    ),
    "clip": (node("Clip", "low", "high"), [*weights(low=()), constant("high", 0.5, dtype="float32")], numbers(3, 4)),
    "layer normalization": (node("LayerNormalization", "s", "b"), weights(s=(8,), b=(8,)), numbers(2, 3, 8)),
    "resize to sizes": (
        node("Resize", "", "", "sizes", mode="linear"),
        [constant("sizes", 1, 2, 13, 4)],
        numbers(1, 2, 7, 9),
    ),
    "resize by scales": (
        node("Resize", "", "scales", mode="nearest"),
        [constant("scales", 1, 1, 0.6, 2.0, dtype="float32")],
        numbers(1, 2, 7, 9),
    ),
    "lstm in two directions": (
        node("LSTM", "w", "r", "b", hidden_size=4, direction="bidirectional"),
        weights(w=(2, 16, 3), r=(2, 16, 4), b=(2, 32)),
        numbers(5, 2, 3),
    ),
    "gru that resets before": (
        node("GRU", "w", "r", "b", hidden_size=4),
        weights(w=(1, 12, 3), r=(1, 12, 4), b=(1, 24)),
        numbers(5, 2, 3),
    ),
    "gru that resets after": (
        node("GRU", "w", "r", "b", hidden_size=4, linear_before_reset=1),
        weights(w=(1, 12, 3), r=(1, 12, 4), b=(1, 24)),
        numbers(5, 2, 3),
    ),
    "backward slice": (
        node("Slice", "from", "to", "axes", "steps"),
        [constant("from", -1), constant("to", -100), constant("axes", 1), constant("steps", -2)],
        numbers(2, 7),
    ),
    "reflected pads": (node("Pad", "pads", mode="reflect"), [constant("pads", 0, 2, 0, 3)], numbers(2, 5)),
    "gather": (node("Gather", "i", axis=1), [constant("i", 0, -1, 2)], numbers(2, 5)),
    "einsum": (node("Einsum", "w", equation="bij,jk->bik"), weights(w=(4, 3)), numbers(2, 5, 4)),
    "hard swish": (node("HardSwish"), [], numbers(2, 5)),
    "short-time fourier transform": (
        node("STFT", "step", "w"),
        [numpy_helper.from_array(np.array(4, "int64"), "step"), *weights(w=(16,))],
        numbers(2, 64, 1),
    ),
    "one-sided fourier transform": (node("DFT", axis=1, onesided=1), [], numbers(2, 9, 1)),
    "sums of what follows": (
        node("CumSum", "axis", exclusive=1, reverse=1),
        [numpy_helper.from_array(np.array(1), "axis")],
        numbers(3, 5),
    ),
    "reversed sequences": (
        node("ReverseSequence", "lengths", batch_axis=0, time_axis=1),
        [constant("lengths", 3, 1, 5)],
        numbers(3, 5, 2),
    ),
    "different values": (node("Unique", sorted=0), [], np.array([2, 1, 1, 3, 2], "float32")),
    "mean of axes": (node("ReduceMean", axes=[1], keepdims=0), [], numbers(2, 5)),
}


@pytest.mark.parametrize("case", NODES)
def test_an_operator_gives_what_onnxruntime_gives(case: str, tmp_path: Path) -> None:
    of, held, x = NODES[case]
    path = saved(model_of([of], held), tmp_path)
    assert differences(path, {"x": x})["y"] < CLOSE


ATTENTIONS: dict[str, dict[str, Any]] = {
    "of all": {},
    "of earlier ones": {"is_causal": 1},
    "with a limit": {"softcap": 1.5, "scale": 0.4},
}


@pytest.mark.parametrize("case", ATTENTIONS)
def test_attention_of_groups_gives_what_onnxruntime_gives(case: str, tmp_path: Path) -> None:
    of = node("Attention", "k", "v", q_num_heads=4, kv_num_heads=2, **ATTENTIONS[case])
    path = saved(model_of([of], weights(k=(2, 5, 6), v=(2, 5, 8)), opset=23), tmp_path)
    assert differences(path, {"x": numbers(2, 5, 12)})["y"] < CLOSE


def test_rotations_by_positions_give_what_onnxruntime_gives(tmp_path: Path) -> None:
    of = node("RotaryEmbedding", "cos", "sin", "at", num_heads=2, rotary_embedding_dim=4)
    held = [*weights(cos=(9, 2), sin=(9, 2)), numpy_helper.from_array(np.array([[0, 3, 8], [1, 2, 5]]), "at")]
    path = saved(model_of([of], held, opset=23), tmp_path)
    assert differences(path, {"x": numbers(2, 3, 12)})["y"] < CLOSE


def test_columns_are_summed_to_an_image(tmp_path: Path) -> None:
    of = node("Col2Im", "image", "block", pads=[1, 0, 1, 2], strides=[2, 1])
    path = saved(model_of([of], [constant("image", 5, 6), constant("block", 3, 2)], opset=18), tmp_path)
    assert differences(path, {"x": numbers(2, 12, 21)})["y"] < CLOSE


def test_sequences_are_split_changed_and_joined(tmp_path: Path) -> None:
    nodes = [
        helper.make_node("SplitToSequence", ["x", "sizes"], ["parts"], axis=1),
        helper.make_node("SequenceAt", ["parts", "last"], ["part"]),
        helper.make_node("SequenceErase", ["parts", "first"], ["fewer"]),
        helper.make_node("SequenceInsert", ["fewer", "part"], ["more"]),
        helper.make_node("ConcatFromSequence", ["more"], ["y"], axis=1),
    ]
    places = [numpy_helper.from_array(np.array(at), name) for name, at in (("first", 0), ("last", -1))]
    held = [constant("sizes", 2, 1, 3), *places]
    assert differences(saved(model_of(nodes, held), tmp_path), {"x": numbers(2, 6)})["y"] == 0


def test_a_scan_carries_a_state_and_collects_what_it_yields(tmp_path: Path) -> None:
    def value(name: str, features: int = 3) -> Any:
        return helper.make_tensor_value_info(name, TensorProto.FLOAT, [2, features])

    inner = [
        helper.make_node("MatMul", ["part", "w"], ["m"]),
        helper.make_node("Add", ["state", "m"], ["after"]),
        helper.make_node("Tanh", ["after"], ["seen"]),
    ]
    body = helper.make_graph(inner, "body", [value("state"), value("part", 4)], [value("after"), value("seen")])
    scan = helper.make_node(
        "Scan",
        ["start", "x"],
        ["end", "y"],
        body=body,
        num_scan_inputs=1,
        scan_input_axes=[1],
        scan_input_directions=[1],
        scan_output_axes=[1],
        scan_output_directions=[1],
    )
    path = saved(model_of([scan], weights(w=(4, 3), start=(2, 3)), outputs=["end", "y"]), tmp_path)
    found = differences(path, {"x": numbers(2, 5, 4)})
    assert max(found.values()) < CLOSE


def test_maxima_are_put_back_to_their_places(tmp_path: Path) -> None:
    nodes = [
        helper.make_node("MaxPool", ["x"], ["m", "i"], kernel_shape=[2, 2], strides=[2, 2]),
        helper.make_node("MaxUnpool", ["m", "i"], ["y"], kernel_shape=[2, 2], strides=[2, 2]),
    ]
    path = saved(model_of(nodes), tmp_path)
    assert differences(path, {"x": numbers(2, 3, 6, 8)})["y"] == 0


def test_the_best_boxes_of_each_class_are_those_of_onnxruntime(tmp_path: Path) -> None:
    random = np.random.default_rng(0)
    corners, sizes = random.uniform(0, 1, (2, 30, 2)), random.uniform(0.1, 0.6, (2, 30, 2))
    boxes = np.concatenate([corners, corners + sizes], axis=2)
    held = [
        numpy_helper.from_array(random.uniform(0, 1, (2, 3, 30)).astype("float32"), "scores"),
        constant("most", 6),
        constant("overlap", 0.4, dtype="float32"),
        constant("least", 0.2, dtype="float32"),
    ]
    nodes = [
        helper.make_node("NonMaxSuppression", ["x", "scores", "most", "overlap", "least"], ["chosen"]),
        helper.make_node("Cast", ["chosen"], ["y"], to=TensorProto.FLOAT),
    ]
    path = saved(model_of(nodes, held), tmp_path)
    assert differences(path, {"x": boxes.astype("float32")})["y"] == 0


@pytest.mark.parametrize("opset", [9, 11, 13, 18, 21])
def test_versions_of_operators_take_axes_as_attributes_or_inputs(opset: int, tmp_path: Path) -> None:
    axes: dict[str, Any] = {"axes": [1]} if opset < 13 else {}
    inputs = ["axes"] if opset >= 13 else []
    nodes = [
        helper.make_node("Unsqueeze", ["x", *inputs], ["a"], **axes),
        helper.make_node("Softmax", ["a"], ["b"], axis=2),
        helper.make_node("Squeeze", ["b", *inputs], ["y"], **axes),
    ]
    path = saved(model_of(nodes, [constant("axes", 1)] if inputs else [], opset=opset), tmp_path)
    assert differences(path, {"x": numbers(3, 4)})["y"] < CLOSE


class Exported(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(3, 8, 3, stride=2, padding=1), nn.BatchNorm2d(8), nn.Hardswish())
        self.norm, self.mix = nn.LayerNorm(8), nn.Linear(8, 24)
        self.up, self.head = nn.Upsample(scale_factor=2, mode="bilinear"), nn.Conv2d(8, 4, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.stem(x)
        count, channels, height, width = x.shape
        q, k, v = self.mix(self.norm(x.flatten(2).transpose(1, 2))).chunk(3, dim=-1)
        attended = nn.functional.scaled_dot_product_attention(q, k, v)
        x = attended.transpose(1, 2).reshape(count, channels, height, width) + x
        found: torch.Tensor = self.head(nn.functional.gelu(self.up(x)))
        return found


@pytest.mark.filterwarnings("ignore")
def test_a_network_exported_by_torch_is_the_same_network(tmp_path: Path) -> None:
    torch.manual_seed(0)
    network, path = Exported().eval(), tmp_path / "exported.onnx"
    x = torch.randn(2, 3, 12, 16)
    torch.onnx.export(network, (x,), path, dynamo=False, input_names=["x"], dynamic_axes={"x": {0: "n", 2: "h"}})
    (found,) = network_of(path)(x=x).values()
    torch.testing.assert_close(found, network(x), rtol=1e-4, atol=1e-5)


def branches() -> Any:
    """Return a model that multiplies by one of two weights of the same name, each in a branch."""
    parts = {}
    for branch, seed in (("then_branch", 1), ("else_branch", 2)):
        out = [helper.make_tensor_value_info(f"{branch}.y", TensorProto.FLOAT, None)]
        nodes = [helper.make_node("MatMul", ["x", "w"], [f"{branch}.y"])]
        parts[branch] = helper.make_graph(nodes, branch, [], out, weights(seed, w=(4, 3)))
    nodes = [
        helper.make_node("ReduceSum", ["x"], ["s"], keepdims=0),
        helper.make_node("Greater", ["s", "zero"], ["c"]),
        helper.make_node("If", ["c"], ["y"], **parts),
    ]
    return model_of(nodes, [numpy_helper.from_array(np.zeros((), "float32"), "zero")])


def test_weights_of_branches_have_names_of_their_own(tmp_path: Path) -> None:
    path = saved(branches(), tmp_path)
    network = network_of(path)
    assert [name for name, _ in network.named_parameters()] == ["w", "w@2"]
    for sign in (1, -1):
        assert differences(path, {"x": sign * np.abs(numbers(2, 4))})["y"] < CLOSE


def test_constants_of_two_or_more_values_are_weights_and_single_numbers_are_kept(tmp_path: Path) -> None:
    held = {name: numpy_helper.from_array(numbers(*shape), name) for name, shape in (("a", (4, 3)), ("b", (1,)))}
    nodes = [
        helper.make_node("Constant", [], ["a"], value=held["a"]),
        helper.make_node("Constant", [], ["b"], value=held["b"]),
        helper.make_node("MatMul", ["x", "a"], ["c"]),
        helper.make_node("Mul", ["c", "b"], ["d"]),
        helper.make_node("Pow", ["d", "e"], ["y"]),
    ]
    path = saved(model_of(nodes, [constant("e", 2.0, dtype="float32")]), tmp_path)
    network = network_of(path)
    assert [name for name, _ in network.named_parameters()] == ["a"]
    assert [name for name, _ in network.named_buffers()] == ["e"]
    assert differences(path, {"x": numbers(2, 4)})["y"] < CLOSE


def test_all_parameters_have_gradients_also_in_copies(tmp_path: Path) -> None:
    network = copy.deepcopy(network_of(saved(small_model(), tmp_path)))
    network(torch.randn(2, 3, 8, 8))["logits"].sum().backward()
    assert {name for name, tensor in network.named_parameters() if tensor.grad is not None} == {
        *("stem.weight", "stem.bias", "body.weight", "head.weight", "head.bias")
    }


def test_a_network_in_half_precision_is_computed_in_float32(tmp_path: Path) -> None:
    held = numpy_helper.from_array(numbers(4, 3).astype("float16"), "w")
    nodes = [
        helper.make_node("Cast", ["x"], ["h"], to=TensorProto.FLOAT16),
        helper.make_node("MatMul", ["h", "w"], ["m"]),
    ]
    path = saved(model_of([*nodes, helper.make_node("Cast", ["m"], ["y"], to=TensorProto.FLOAT)], [held]), tmp_path)
    network, x = network_of(path), numbers(2, 4)
    assert network.w.dtype == torch.float16
    found = network(torch.from_numpy(x))["y"]
    assert found.dtype == torch.float32
    np.testing.assert_allclose(found.detach().numpy(), answers(path, {"x": x})["y"], atol=0.02)


@pytest.mark.parametrize(
    ("of", "named"),
    [
        (helper.make_node("Multinomial", ["x"], ["y"]), "Multinomial"),
        (helper.make_node("Run", ["x"], ["y"], domain="evil.example"), "evil.example.Run"),
    ],
)
def test_the_first_operator_that_is_missing_is_named(of: Any, named: str, tmp_path: Path) -> None:
    path = saved(model_of([helper.make_node("Relu", ["x"], ["a"]), of], weights(w=(4, 4))), tmp_path)
    with pytest.raises(NernError) as error:
        network_of(path)
    assert error.value.code == "unsupported_operator"
    assert error.value.message == (
        f"The ONNX network uses the operator '{named}', which cannot be trained here; omit the data to encode its "
        "weights as they are."
    )


def test_other_inputs_are_refused_with_the_names_of_the_right_ones(tmp_path: Path) -> None:
    network = network_of(saved(small_model(), tmp_path))
    with pytest.raises(NernError, match=r"takes the inputs 'x', not 'image'"):
        network(image=torch.zeros(1, 3, 8, 8))
