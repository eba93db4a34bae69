import torch

from nern_core.embedding import positional_encoding
from nern_core.kernels import select_layers
from nern_core.predictor import FilterSpan, Predictor, PredictorConfig

LAYERS = select_layers({"a": torch.ones(4, 3, 3, 3), "b": torch.ones(5, 4, 3, 3), "c": torch.ones(2, 2, 5, 5)}, ["*"])


def predictor(hidden_size: int = 16) -> Predictor:
    torch.manual_seed(0)
    return Predictor(PredictorConfig(hidden_size=hidden_size), LAYERS).double()


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
