from typing import get_args

import pytest
import torch

from nern_core.representations.predicted.inference import predict_layers
from nern_core.representations.predicted.predictor import (
    Activation,
    Connections,
    FilterSpan,
    Predictor,
    PredictorConfig,
    PredictorVariant,
)
from nern_core.tensors.kernels import select_layers

# Two kernel shapes; the second layer is larger than a block.
TENSORS = {"a": torch.ones(4, 3, 3, 3), "b": torch.ones(50, 40, 3, 3), "c": torch.ones(2, 2, 5, 5).half()}
LAYERS = select_layers(TENSORS, ["*"])


def predictor(variant: PredictorVariant) -> Predictor:
    torch.manual_seed(0)
    return Predictor(PredictorConfig(hidden_size=16, variant=variant), LAYERS).double()


@pytest.mark.parametrize("connections", get_args(Connections))
@pytest.mark.parametrize("activation", get_args(Activation))
def test_layers_are_what_the_predictor_says(activation: Activation, connections: Connections) -> None:
    subject = predictor(PredictorVariant(activation=activation, connections=connections))
    predicted = predict_layers(subject, [0, 1, 2], [0.5] * 3)
    for index, (layer, kernels) in enumerate(zip(LAYERS, predicted, strict=True)):
        expected = 0.5 * subject.of_filters([FilterSpan(index, 0, layer.filters)], layer.head).detach()
        assert kernels.dtype == TENSORS[layer.name].dtype
        torch.testing.assert_close(kernels, expected.to(kernels.dtype))


def test_the_parameters_and_the_number_of_threads_stay_as_they_are() -> None:
    subject = predictor(PredictorVariant())
    before = {name: tensor.clone() for name, tensor in subject.state_dict().items()}
    threads = torch.get_num_threads()
    predict_layers(subject, [1], [1.0])
    assert torch.get_num_threads() == threads
    assert all(torch.equal(tensor, before[name]) for name, tensor in subject.state_dict().items())


def test_more_blocks_than_workspaces_do_not_mix() -> None:
    subject = predictor(PredictorVariant())
    first, again = (predict_layers(subject, [1, 0, 1], [1.0] * 3) for _ in range(2))
    assert all(torch.equal(a, b) for a, b in zip(first, again, strict=True))
    assert torch.equal(first[0], first[2])


def test_no_layers_are_predicted_at_once() -> None:
    assert predict_layers(predictor(PredictorVariant()), [], []) == []
