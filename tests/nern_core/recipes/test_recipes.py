import pytest

from nern_core.contract.catalogue import RecipeName
from nern_core.recipes import RECIPES
from nern_core.representations.predicted.distill import LossTerm
from nern_core.representations.predicted.embedding import PositionalEncoding
from nern_core.representations.predicted.predictor import PredictorVariant
from nern_core.representations.predicted.sampling import SamplingConfig


@pytest.mark.parametrize("name", list(RecipeName))
def test_every_recipe_has_shares_that_add_up(name: RecipeName) -> None:
    predictor = RECIPES[name].predictor
    shares = [predictor.reconstruction.share, predictor.distillation.share]
    assert sum(share.seconds for share in shares) == pytest.approx(1)
    assert sum(share.steps for share in shares) == pytest.approx(1)


def test_the_paper_has_the_published_settings() -> None:
    paper = RECIPES[RecipeName.PAPER]
    assert paper.predictor.variant == PredictorVariant(
        linear_layers=5,
        activation="relu",
        connections="plain",
        encoding=PositionalEncoding(levels=40, base=0.76),
    )
    assert (paper.predictor.scaled_targets, paper.predictor.stored_dtype) == (False, "float32")
    assert paper.default_steps == 68_600
    distillation = paper.predictor.distillation
    assert (paper.images.per_step, distillation.sampling.kernels_per_step) == (256, 4096)
    terms = (distillation.reconstruction, distillation.features, distillation.logits)
    assert terms == (LossTerm(weight=1), LossTerm(weight=1e-4), LossTerm(weight=1e-4))
    assert (distillation.logit_distance, distillation.temperature) == ("published", 1)
    assert distillation.sampling == SamplingConfig(kind="magnitude", kernels_per_step=4096, replacement=True)
    assert (distillation.optimizer.name, distillation.optimizer.learning_rate) == ("ranger", 5e-3)
