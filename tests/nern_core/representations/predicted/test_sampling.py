import numpy as np
import pytest
import torch

from nern_core.representations.predicted.sampling import (
    KernelSampler,
    SamplingConfig,
    SamplingKind,
    weighted_with_replacement,
    weighted_without_replacement,
)

LAYER_SIZES = (3, 5, 2)


def sampler(
    kind: SamplingKind,
    kernels: torch.Tensor,
    batch: int = 0,
    *,
    replacement: bool = True,
    layer_sizes: tuple[int, ...] | None = None,
) -> KernelSampler:
    config = SamplingConfig(kind=kind, kernels_per_step=batch, replacement=replacement)
    sizes = (len(kernels),) if layer_sizes is None else layer_sizes
    return KernelSampler(config, kernels, sizes, batch, torch.Generator().manual_seed(0))


def test_all_kernels_are_all_kernels() -> None:
    assert sampler("all", torch.ones(10, 9)).draw().tolist() == list(range(10))


def test_layers_come_one_after_another() -> None:
    subject = sampler("sequential-layer", torch.ones(10, 9), layer_sizes=LAYER_SIZES)
    assert [subject.draw().tolist() for _ in range(4)] == [[0, 1, 2], [3, 4, 5, 6, 7], [8, 9], [0, 1, 2]]


def test_random_layers_are_whole_layers_each_as_likely_as_the_other() -> None:
    subject = sampler("random-layer", torch.ones(10, 9), layer_sizes=LAYER_SIZES)
    drawn = [tuple(subject.draw().tolist()) for _ in range(3000)]
    assert set(drawn) == {(0, 1, 2), (3, 4, 5, 6, 7), (8, 9)}
    # Six standard deviations of a binomial of 3000 draws with probability 1/3.
    assert all(abs(drawn.count(layer) - 1000) < 6 * np.sqrt(3000 * 2 / 9) for layer in set(drawn))


@pytest.mark.parametrize("replacement", [True, False])
def test_a_batch_is_never_larger_than_the_set(replacement: bool) -> None:
    assert len(sampler("uniform", torch.ones(5, 9), 100, replacement=replacement).draw()) == 5


def test_uniform_draws_with_replacement_are_independent_and_alike() -> None:
    subject = sampler("uniform", torch.ones(10, 9), 8)
    drawn = torch.stack([subject.draw() for _ in range(2000)])
    counts = np.bincount(drawn.flatten().numpy(), minlength=10)
    assert np.abs(counts - 1600).max() < 6 * np.sqrt(16000 * 0.09)
    # Eight independent draws of ten are all different with the probability 10!/2!/10^8.
    different = sum(len(row.unique()) == 8 for row in drawn)
    assert abs(different - 2000 * 0.018144) < 6 * np.sqrt(2000 * 0.018144)


def test_without_replacement_every_kernel_comes_once_before_any_comes_again() -> None:
    subject = sampler("uniform", torch.ones(10, 9), 4, replacement=False)
    for _ in range(3):
        epoch = [subject.draw() for _ in range(3)]
        assert [len(batch) for batch in epoch] == [4, 4, 2]
        assert sorted(torch.cat(epoch).tolist()) == list(range(10))


def test_the_order_is_another_in_every_epoch() -> None:
    subject = sampler("uniform", torch.ones(50, 9), 50, replacement=False)
    assert subject.draw().tolist() != subject.draw().tolist()


def test_the_paper_mixes_four_uniform_batches_to_one_weighted_by_magnitude() -> None:
    kernels = torch.zeros(1000, 9)
    kernels[7] = 1.0
    subject = sampler("magnitude", kernels, 50)
    weighted = sum(bool((subject.draw() == 7).all()) for _ in range(500))
    assert 70 <= weighted <= 130


def test_uniform_batches_of_the_paper_name_no_kernel_twice() -> None:
    subject = sampler("magnitude", torch.zeros(100, 9), 60)
    assert all(len(subject.draw().unique()) == 60 for _ in range(20))


def test_weights_of_the_paper_are_the_norms_of_the_kernels() -> None:
    kernels = torch.arange(1.0, 5.0)[:, None].expand(4, 9)
    subject = sampler("magnitude", kernels, 1)
    counts = np.bincount(torch.cat([subject.draw() for _ in range(20_000)]).numpy(), minlength=4)
    expected = 20_000 * (0.8 / 4 + 0.2 * np.array([1, 2, 3, 4]) / 10)
    assert np.abs(counts - expected).max() < 5 * np.sqrt(20_000 * 0.25 * 0.75)


def test_weighted_draws_with_replacement_follow_the_weights() -> None:
    weights = torch.tensor([0.0, 1.0, 0.0, 2.0, 5.0], dtype=torch.float64)
    counts = np.bincount(weighted_with_replacement(weights, 80_000, torch.Generator().manual_seed(0)), minlength=5)
    assert counts[[0, 2]].tolist() == [0, 0]
    assert np.abs(counts[[1, 3, 4]] - [10_000, 20_000, 50_000]).max() < 5 * np.sqrt(80_000 / 4)


def test_weighted_draws_without_replacement_follow_the_weights_of_those_that_are_left() -> None:
    weights = torch.tensor([1.0, 2.0, 5.0], dtype=torch.float64)
    generator = torch.Generator().manual_seed(0)
    drawn = [tuple(weighted_without_replacement(weights, 2, generator).tolist()) for _ in range(8000)]
    # First i with w_i / 8, then j with w_j / (8 - w_i).
    plain = {(i, j): weights[i] / 8 * weights[j] / (8 - weights[i]) for i in range(3) for j in range(3) if i != j}
    assert set(drawn) == set(plain)
    assert all(abs(drawn.count(pair) - 8000 * float(p)) < 5 * np.sqrt(8000 * 0.25) for pair, p in plain.items())


def test_without_replacement_kernels_of_no_weight_are_never_drawn() -> None:
    weights = torch.tensor([0.0, 3.0, 0.0, 1.0], dtype=torch.float64)
    drawn = weighted_without_replacement(weights, 3, torch.Generator().manual_seed(0))
    assert sorted(drawn.tolist()) == [1, 3]


def test_weighted_batches_without_replacement_name_no_kernel_twice() -> None:
    subject = sampler("magnitude", torch.rand(100, 9), 60, replacement=False)
    assert all(len(subject.draw().unique()) == 60 for _ in range(50))


def test_more_kernels_than_torch_can_weigh_are_weighed() -> None:
    weights = torch.zeros(2**24 + 8, dtype=torch.float64)
    weights[-1] = 1.0
    generator = torch.Generator().manual_seed(0)
    assert weighted_with_replacement(weights, 2, generator).tolist() == [2**24 + 7] * 2
    assert weighted_without_replacement(weights, 2, generator).tolist() == [2**24 + 7]


@pytest.mark.parametrize("replacement", [True, False])
def test_the_same_seed_draws_the_same_batches(replacement: bool) -> None:
    kernels = torch.rand(100, 9)
    first, second = (sampler("magnitude", kernels, 10, replacement=replacement) for _ in range(2))
    assert all(torch.equal(first.draw(), second.draw()) for _ in range(10))


@pytest.mark.parametrize(("kind", "batch"), [("uniform", 0), ("magnitude", 0), ("all", 8), ("random-layer", 8)])
def test_batches_have_a_size_and_nothing_else_has(kind: SamplingKind, batch: int) -> None:
    with pytest.raises(ValueError, match="kernels_per_step"):
        SamplingConfig(kind=kind, kernels_per_step=batch)
