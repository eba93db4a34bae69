import torch

from nern_core.sampling import KernelSampler, SamplingConfig


def sampler(kind: str, kernels: torch.Tensor, batch: int) -> KernelSampler:
    config = SamplingConfig(kind=kind, kernels_per_step=batch)  # type: ignore[arg-type]
    return KernelSampler(config, kernels, batch, torch.Generator().manual_seed(0))


def test_a_batch_is_never_larger_than_the_set() -> None:
    assert len(sampler("uniform", torch.ones(5, 9), 100).draw()) == 5


def test_the_paper_mixes_four_uniform_batches_to_one_weighted_by_magnitude() -> None:
    kernels = torch.zeros(1000, 9)
    kernels[7] = 1.0
    draws = [
        sampler_draw for s in [sampler("magnitude", kernels, 50)] for sampler_draw in (s.draw() for _ in range(500))
    ]
    weighted = sum(bool((draw == 7).all()) for draw in draws)
    assert 70 <= weighted <= 130


def test_uniform_batches_of_the_paper_name_no_kernel_twice() -> None:
    kernels = torch.zeros(100, 9)
    draws = sampler("magnitude", kernels, 60)
    assert all(len(draws.draw().unique()) == 60 for _ in range(20))


def test_the_same_seed_draws_the_same_batches() -> None:
    first, second = (sampler("magnitude", torch.rand(100, 9), 10) for _ in range(2))
    assert torch.equal(first.draw(), second.draw())
