import pytest
import torch

from nern_core.contract.options import Permutation
from nern_core.representations.predicted.predictor import Predictor, PredictorConfig
from nern_core.representations.predicted.targets import Targets, make_targets
from nern_core.tensors.kernels import select_layers


@pytest.fixture
def targets() -> Targets:
    """Two layers of 3x3 kernels and one of 5x5: 12 + 20 and 6 kernels."""
    torch.manual_seed(0)
    tensors = {"a": torch.randn(4, 3, 3, 3), "b": torch.randn(5, 4, 3, 3), "stem": torch.randn(2, 3, 5, 5)}
    return make_targets(tensors, select_layers(tensors, ["*"]), Permutation.CROSS_FILTER, scaled=True)


@pytest.fixture
def predictor(targets: Targets) -> Predictor:
    """A small predictor for these layers."""
    torch.manual_seed(1)
    return Predictor(PredictorConfig(hidden_size=16), targets.layers)
