import numpy as np
import pytest
import torch

from nern_core.representations.quantized.error_feedback import feedback_block, round_with_feedback


def correlated_moments(inputs: int, groups: int = 1) -> torch.Tensor:
    generator = torch.Generator().manual_seed(0)
    mixing = torch.randn(groups, inputs, inputs, generator=generator)
    return mixing @ mixing.mT / inputs + torch.eye(inputs) * 0.05 + 1.0


def rounded(values: torch.Tensor, moments: torch.Tensor, step: float) -> torch.Tensor:
    steps = np.full(values.shape[1], step, np.float32)
    latents = round_with_feedback(values.numpy(), steps, (feedback_block(moments),))
    return torch.from_numpy(latents).round() * step


def cost(change: torch.Tensor, moments: torch.Tensor) -> float:
    rows = change.view(len(moments), -1, change.shape[1])
    return float(torch.einsum("gri,gij,grj->", rows, moments, rows))


@pytest.mark.parametrize("groups", [1, 4])
def test_later_weights_make_up_for_the_errors_of_earlier_ones(groups: int) -> None:
    values = torch.randn(16, 48, generator=torch.Generator().manual_seed(1))
    moments = correlated_moments(48, groups)
    plain = (values / 0.5).round() * 0.5
    assert cost(rounded(values, moments, 0.5) - values, moments) < 0.4 * cost(plain - values, moments)


def test_without_correlations_weights_are_rounded_to_the_nearest_integers() -> None:
    values = torch.randn(4, 10, generator=torch.Generator().manual_seed(1))
    assert torch.equal(rounded(values, torch.eye(10)[None], 0.25), (values / 0.25).round() * 0.25)


def test_blocks_do_not_influence_each_other() -> None:
    values = torch.randn(8, 20, generator=torch.Generator().manual_seed(1))
    steps = np.full(20, 0.5, np.float32)
    blocks = tuple(feedback_block(correlated_moments(10)) for _ in range(2))
    both = round_with_feedback(values.numpy(), steps, blocks)
    alone = round_with_feedback(values[:, 10:].contiguous().numpy(), steps[10:], blocks[1:])
    assert np.array_equal(both[:, 10:], alone)


def test_inputs_that_are_always_zero_do_no_harm() -> None:
    moments = correlated_moments(6)
    moments[:, 2] = moments[:, :, 2] = 0
    values = torch.randn(3, 6, generator=torch.Generator().manual_seed(1))
    assert (rounded(values, moments, 0.5) - values).abs()[:, 2].max() <= 0.25 + 1e-6


def test_the_variance_of_an_independent_input_is_its_moment() -> None:
    block = feedback_block(torch.diag(torch.tensor([1.0, 4.0, 0.25]))[None])
    assert block.variances()[0] == pytest.approx([1.0175, 4.0175, 0.2675], rel=1e-4)
