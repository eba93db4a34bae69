import torch

from nern_core.representations.quantized.coordinate_scales import fit_scales
from nern_core.representations.quantized.rate import RateModel
from nern_core.representations.quantized.trim import trimmed


def case() -> tuple[list[torch.Tensor], list[torch.Tensor]]:
    latents = [torch.randn(16, 8, 9, generator=torch.Generator().manual_seed(0)) * 3]
    return latents, [latent.round().to(torch.int32) for latent in latents]


def test_as_many_bits_are_saved_as_asked_for() -> None:
    latents, integers = case()
    rate = RateModel(integers)
    found = trimmed(latents, integers, 200.0)
    saved = rate.bits_of_rounded([i.float() for i in integers]) - rate.bits_of_rounded([i.float() for i in found])
    assert 200 <= saved < 210


def test_integers_move_by_one_and_towards_zero() -> None:
    latents, integers = case()
    (found,), (before,) = trimmed(latents, integers, 200.0), integers
    moved = found != before
    assert 0 < moved.sum() < 400
    assert (found[moved].abs() == before[moved].abs() - 1).all()


def test_those_nearest_to_the_smaller_integer_move_first() -> None:
    latents, integers = case()
    (found,), (before,), (latent,) = trimmed(latents, integers, 100.0), integers, latents
    classes = fit_scales(before).classes()
    compared = 0
    for index in classes.unique():
        for magnitude in before.abs().unique():
            # They all save the same.
            alike = (before.abs() == magnitude) & (classes == index)
            moved, stayed = latent.abs()[alike & (found != before)], latent.abs()[alike & (found == before)]
            if len(moved) and len(stayed):
                assert moved.max() < stayed.min()
                compared += 1
    assert compared > 5


def test_what_cannot_be_saved_leaves_zeros() -> None:
    latents, integers = case()
    for _ in range(20):
        integers = trimmed(latents, integers, 1e9)
    assert integers[0].abs().max() == 0
