import pytest

from nern_core.options import RecipeName
from nern_core.recipes import RECIPES


@pytest.mark.parametrize("name", list(RecipeName))
def test_every_recipe_has_shares_that_add_up(name: RecipeName) -> None:
    recipe = RECIPES[name]
    shares = [recipe.reconstruction.share, recipe.distillation.share]
    assert sum(share.seconds for share in shares) == pytest.approx(1)
    assert sum(share.steps for share in shares) == pytest.approx(1)


def test_the_paper_has_the_published_settings() -> None:
    paper = RECIPES[RecipeName.PAPER]
    assert (paper.activation, paper.scaled_targets, paper.stored_dtype) == ("relu", False, "float32")
    assert paper.default_budget.steps == 68_600
    distillation = paper.distillation
    assert (distillation.images_per_step, distillation.sampling.kernels_per_step) == (256, 4096)
    assert (distillation.reconstruction_weight, distillation.feature_weight, distillation.logit_weight) == (
        1,
        1e-4,
        1e-4,
    )
    assert (distillation.optimizer.name, distillation.optimizer.learning_rate) == ("ranger", 5e-3)
