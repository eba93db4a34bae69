from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from onnx import helper
from torch import nn

from nern_core.representations.quantized.batch_norm import fold_batch_norm
from tests.onnx_models import model_of, network_of, saved, weights


def network() -> nn.Sequential:
    torch.manual_seed(0)
    net = nn.Sequential(nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8, eps=0.1), nn.BatchNorm2d(8, affine=False))
    for _ in range(5):
        net(torch.randn(4, 3, 8, 8) * 3 + 1)
    with torch.no_grad():
        for parameter in net[1].parameters():
            parameter.normal_()
    return net.eval()


def test_the_network_computes_the_same_after_folding() -> None:
    net, inputs = network(), torch.randn(2, 3, 8, 8)
    expected = net(inputs)
    net.load_state_dict(net.state_dict() | fold_batch_norm(net))
    torch.testing.assert_close(net(inputs), expected, rtol=1e-5, atol=1e-5)


def test_running_statistics_become_constants() -> None:
    folded = fold_batch_norm(network())
    assert folded["1.running_mean"].tolist() == [0.0] * 8
    assert folded["1.running_var"].tolist() == [1.0] * 8


def test_layers_without_weights_stay_as_they_are() -> None:
    assert {name.partition(".")[0] for name in fold_batch_norm(network())} == {"1"}


def normalized(folder: Path, *, is_shared: bool) -> Path:
    """Write a graph with two batch normalizations in a row, with tensors of their own or the same mean."""
    names = [["x", "s", "b", "m", "v"], ["y1", "s2", "b2", "m" if is_shared else "m2", "v2"]]
    nodes = [
        helper.make_node("BatchNormalization", inputs, [f"y{place}"], epsilon=0.1)
        for place, inputs in enumerate(names, 1)
    ]
    shapes: dict[str, Any] = dict.fromkeys(names[0][1:] + names[1][1:], (3,))
    held = weights(**shapes)
    for tensor in held:
        if tensor.name.startswith("v"):
            tensor.raw_data = np.array([0.5, 1, 2], "float32").tobytes()
    return saved(model_of(nodes, held, outputs=["y2"]), folder)


@pytest.mark.parametrize(("is_shared", "folded"), [(False, {"m", "v", "m2", "v2"}), (True, set())])
def test_nodes_of_an_onnx_graph_are_folded_unless_they_share_tensors(
    is_shared: bool, folded: set[str], tmp_path: Path
) -> None:
    net, inputs = network_of(normalized(tmp_path, is_shared=is_shared)), torch.randn(2, 3, 5)
    expected = net(inputs)["y2"]
    changed = fold_batch_norm(net)
    assert {name for name in changed if name[0] in "mv"} == folded
    assert all(changed[name].tolist() == [float(name[0] == "v")] * 3 for name in folded)
    net.load_state_dict(net.state_dict() | changed)
    torch.testing.assert_close(net(inputs)["y2"], expected, rtol=1e-5, atol=1e-5)
