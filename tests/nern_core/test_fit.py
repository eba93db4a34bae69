import pytest
import torch

from nern_core.checkpoint import read_checkpoint
from nern_core.datasets import read_image_set
from nern_core.fit import _curvature_batches, _Stage, _with_whole_budget
from nern_core.optim import OptimizerConfig
from nern_core.progress import Phase
from nern_core.training.clock import Share
from nern_core.training.distill import Teacher
from nern_core.zoo import build_network, find_architecture
from tests.conftest import DIGITS, EXAMPLE


def teacher() -> Teacher:
    architecture = find_architecture("digits-cnn")
    network = build_network(architecture, read_checkpoint(EXAMPLE).tensors)
    return Teacher(network, read_image_set(DIGITS, "train"), architecture.preprocessing)


def images(count: int, seconds: float | None) -> list[int]:
    return [len(batch) for batch in _curvature_batches(count, teacher(), seconds, torch.Generator().manual_seed(0))]


def test_curvature_is_estimated_on_as_many_images_as_the_recipe_says() -> None:
    assert images(150, seconds=None) == images(150, seconds=600) == [64, 64, 22]


def test_of_a_short_budget_the_curvature_takes_a_small_part_only() -> None:
    assert images(150, seconds=1e-6) == [64]


def test_a_phase_that_is_left_out_leaves_its_share_to_the_others() -> None:
    optimizer = OptimizerConfig(name="muon", learning_rate=0.1)
    shares = [Share(seconds=0.4, steps=0.8), Share(seconds=0.35, steps=0.1)]
    stages = [_Stage(Phase.RECONSTRUCTION, share, optimizer, lambda: torch.zeros(())) for share in shares]
    found = [stage.share for stage in _with_whole_budget(stages)]
    assert [share.seconds for share in found] == pytest.approx([0.4 / 0.75, 0.35 / 0.75])
    assert [share.steps for share in found] == pytest.approx([0.8 / 0.9, 0.1 / 0.9])
