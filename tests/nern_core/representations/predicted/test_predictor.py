import math
from collections.abc import Callable
from typing import get_args

import numpy as np
import pytest
import torch
from torch import Tensor

from nern_core.representations.predicted.embedding import (
    FourierEncoding,
    PositionalEncoding,
    encode_axes,
    positional_encoding,
)
from nern_core.representations.predicted.predictor import (
    Activation,
    Connections,
    FilterSpan,
    Predictor,
    PredictorConfig,
    PredictorVariant,
    parameter_shapes,
)
from nern_core.tensors.kernels import select_layers
from nern_core.training.optim import OptimizerConfig, make_optimizers

LAYERS = select_layers({"a": torch.ones(4, 3, 3, 3), "b": torch.ones(5, 4, 3, 3), "c": torch.ones(2, 2, 5, 5)}, ["*"])


def predictor(hidden_size: int = 16) -> Predictor:
    torch.manual_seed(0)
    return Predictor(PredictorConfig(hidden_size=hidden_size), LAYERS).double()


ENCODINGS = [PositionalEncoding(), FourierEncoding()]
FORMULAS: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "relu": lambda x: np.maximum(x, 0),
    "gelu": lambda x: x * (1 + np.vectorize(math.erf)(x / np.sqrt(2))) / 2,
    "silu": lambda x: x / (1 + np.exp(-x)),
    "sine": np.sin,
}


def plain_prediction(subject: Predictor, coordinate: tuple[int, int, int], head: str) -> np.ndarray:
    """Predict one kernel in numpy from the full embedding of its coordinate."""
    variant, width = subject.config.variant, subject.config.hidden_size
    parameters = {name: parameter.detach().numpy() for name, parameter in subject.named_parameters()}
    activation = FORMULAS[variant.activation]
    axes = encode_axes(variant.encoding, [(layer.filters, layer.channels) for layer in subject.layers])
    rows = [axis.starts[coordinate[0]] + x for axis, x in zip(axes, coordinate, strict=True)]
    code = np.concatenate([axis.codes[row].numpy() for axis, row in zip(axes, rows, strict=True)])
    first, first_bias = parameters["first.weight"], parameters["first.bias"]
    x = activation(first[:width] @ code + first_bias[:width])
    for index in range(variant.linear_layers - 2):
        weight, bias = parameters[f"hidden.{index}.weight"], parameters[f"hidden.{index}.bias"]
        if variant.connections == "skip" and index == 1:
            # NeRF: the layer halfway has the code as further inputs.
            weight, y = np.concatenate((weight, first[width:]), axis=1), np.concatenate((x, code))
            x = activation(weight @ y + bias + first_bias[width:])
        elif variant.connections == "residual":
            x = x + activation(weight @ x + bias)
        else:
            x = activation(weight @ x + bias)
    return np.asarray(parameters[f"heads.{head}.weight"] @ x + parameters[f"heads.{head}.bias"])


@pytest.mark.parametrize("encoding", ENCODINGS, ids=["positional", "fourier"])
@pytest.mark.parametrize("connections", get_args(Connections))
@pytest.mark.parametrize("activation", get_args(Activation))
def test_every_variant_equals_the_plain_formula(
    activation: Activation, connections: Connections, encoding: PositionalEncoding | FourierEncoding
) -> None:
    variant = PredictorVariant(activation=activation, connections=connections, encoding=encoding)
    torch.manual_seed(0)
    subject = Predictor(PredictorConfig(hidden_size=16, variant=variant), LAYERS).double()
    coordinates = [(0, 3, 2), (1, 4, 0), (1, 0, 3)]
    expected = np.stack([plain_prediction(subject, coordinate, "3x3") for coordinate in coordinates])
    found = subject.at(torch.tensor(coordinates), "3x3").detach().numpy()
    np.testing.assert_allclose(found, expected, rtol=1e-9, atol=1e-12)
    whole = subject.of_filters([FilterSpan(1, 4, 5)], "3x3").detach().numpy()
    np.testing.assert_allclose(whole[0], expected[1], rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("connections", get_args(Connections))
def test_the_shapes_of_parameters_are_known_without_a_predictor(connections: Connections) -> None:
    config = PredictorConfig(hidden_size=7, variant=PredictorVariant(linear_layers=6, connections=connections))
    parameters = [(name, tuple(parameter.shape)) for name, parameter in Predictor(config, LAYERS).named_parameters()]
    assert list(parameter_shapes(config, LAYERS).items()) == parameters


def error_after_training(variant: PredictorVariant, kernels: Tensor, coordinates: Tensor) -> float:
    """Return the squared error after 200 steps, relative to that of the best constant kernel."""
    torch.manual_seed(0)
    subject = Predictor(PredictorConfig(hidden_size=24, variant=variant), LAYERS)
    optimizers = make_optimizers(OptimizerConfig(name="adamw", learning_rate=1e-2), subject)
    for step in range(200):
        loss = (subject.at(coordinates, "3x3") - kernels).square().mean()
        loss.backward()
        optimizers.schedule(step / 200)
        optimizers.step()
    with torch.no_grad():
        error = (subject.at(coordinates, "3x3") - kernels).square().mean()
    return float(error / (kernels - kernels.mean(dim=0)).square().mean())


@pytest.mark.parametrize(
    "variant",
    [
        *(PredictorVariant(activation=activation) for activation in get_args(Activation)),
        PredictorVariant(connections="skip"),
        PredictorVariant(connections="residual"),
        PredictorVariant(encoding=FourierEncoding()),
    ],
    ids=[*get_args(Activation), "skip", "residual", "fourier"],
)
def test_every_variant_learns_more_than_a_constant(variant: PredictorVariant) -> None:
    coordinates = torch.tensor([[1, f, c] for f in range(5) for c in range(4)])
    kernels = torch.randn(20, 9, generator=torch.Generator().manual_seed(1))
    assert error_after_training(variant, kernels, coordinates) < 0.5


def test_inputs_of_every_sine_have_about_unit_variance() -> None:
    torch.manual_seed(0)
    layers = select_layers({"w": torch.ones(64, 64, 3, 3)}, ["*"])
    subject = Predictor(PredictorConfig(hidden_size=256, variant=PredictorVariant(activation="sine")), layers)
    seen: list[float] = []
    for layer in subject.hidden:
        layer.register_forward_hook(lambda module, inputs, output: seen.append(float(output.detach().var())))
    subject.of_filters([FilterSpan(0, 0, 64)], "3x3")
    assert seen == pytest.approx([1.0, 1.0, 1.0], abs=0.5)


def test_has_the_published_number_of_parameters() -> None:
    layers = select_layers({"w": torch.ones(2, 2, 3, 3)}, ["*"])
    found = Predictor(PredictorConfig(hidden_size=160), layers)
    assert sum(parameter.numel() for parameter in found.parameters()) == 117_289


def test_the_separable_first_layer_equals_the_product_with_the_whole_embedding() -> None:
    subject = predictor()
    coordinates = torch.tensor([[0, 3, 2], [1, 4, 0], [1, 0, 3]])
    codes = [positional_encoding(coordinates[:, axis], levels=40, base=0.76) for axis in range(3)]
    features = torch.relu(subject.first(torch.cat(codes, dim=1)))
    for layer in subject.hidden:
        features = torch.relu(layer(features))
    torch.testing.assert_close(subject.at(coordinates, "3x3"), subject.heads["3x3"](features))


def test_whole_filters_equal_single_kernels() -> None:
    subject = predictor()
    coordinates = torch.tensor([[1, f, c] for f in (1, 2) for c in range(4)])
    torch.testing.assert_close(subject.of_filters([FilterSpan(1, 1, 3)], "3x3"), subject.at(coordinates, "3x3"))


def test_every_kernel_shape_has_its_own_head() -> None:
    subject = predictor()
    assert subject.of_filters([FilterSpan(2, 0, 2)], "5x5").shape == (4, 25)
    assert set(subject.heads) == {"3x3", "5x5"}
