import pytest
import torch

from nern_core.codec.streams import STREAMS_BEFORE_LAYERS, pack_layers
from nern_core.formats.kernel_layer import KernelLayer
from nern_core.representations.quantized.coded_layer import coded_layer
from nern_core.representations.quantized.rate import RateModel, bits_of


def latents() -> list[torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    return [torch.randn(16, 8, 9, generator=generator) * 2, torch.randn(8, 16, 9, generator=generator)]


def rounded(values: list[torch.Tensor]) -> list[torch.Tensor]:
    return [latent.round().to(torch.int32) for latent in values]


def zeros(size: int) -> torch.Tensor:
    return torch.zeros(size, dtype=torch.int32)


def packed_bytes(integers: list[torch.Tensor]) -> int:
    """Return the bytes of the streams of layers with these integers and steps of 1."""
    layers = [
        coded_layer(
            values,
            (zeros(len(values)), zeros(values.shape[1]), zeros(values.shape[2])),
            KernelLayer(name="w", shape=(*values.shape[:2], 3, 3), tile=None, dtype="float32"),
            is_transformed=False,
        )
        for values in integers
    ]
    return sum(map(len, pack_layers(layers)[STREAMS_BEFORE_LAYERS:]))


def test_the_bits_of_integers_are_those_that_their_streams_take() -> None:
    integers = rounded(latents())
    packed = packed_bytes(integers)
    assert float(RateModel(integers).bits_of_rounded(latents())) == pytest.approx(8 * packed, abs=128)


@pytest.mark.parametrize("steps_per_deviation", [10, 60])
def test_the_bits_of_large_integers_are_those_of_their_streams_too(steps_per_deviation: int) -> None:
    integers = rounded([latent * steps_per_deviation for latent in latents()])
    packed = packed_bytes(integers)
    bits = RateModel(integers).bits_of_rounded([values.float() for values in integers])
    assert float(bits) == pytest.approx(8 * packed, abs=128)


def test_bits_of_real_numbers_lie_between_those_of_integers() -> None:
    integers = rounded(latents())
    rate = RateModel(integers)
    exact = [values.float() for values in integers]
    # If a larger integer would cost less, it counts as much as the smaller one.
    assert 0 <= float(rate.bits(exact)) / float(rate.bits_of_rounded(exact)) - 1 < 0.02
    halfway = [values.abs().float() + 0.5 for values in integers]
    above = [values.abs().float() + 1 for values in integers]
    assert float(rate.bits(halfway)) == pytest.approx((float(rate.bits(exact)) + float(rate.bits(above))) / 2, rel=1e-5)


def test_the_gradient_pulls_every_number_towards_zero() -> None:
    values = [latent.requires_grad_() for latent in latents()]
    RateModel(rounded(latents())).bits(values).backward()
    for latent in values:
        assert latent.grad is not None
        assert (latent.grad * latent.detach().sign() >= 0).all()
        assert (latent.grad != 0).double().mean() > 0.9


def test_bits_between_neighbours_add_up() -> None:
    integers = [torch.full((2, 2, 9), 3, dtype=torch.int32), torch.zeros(2, 2, 9, dtype=torch.int32)]
    rate = RateModel([torch.arange(-18, 18, dtype=torch.int32).view(2, 2, 9), integers[1]])
    of_first, of_second = zip(
        *(rate.bits_between([integers[0] - step, integers[1]]).split(36) for step in range(3)), strict=True
    )
    down = sum(float(bits.sum()) for bits in of_first)
    assert down == pytest.approx(
        float(rate.bits_of_rounded([integers[0].float(), integers[1].float()]))
        - float(rate.bits_of_rounded([integers[1].float(), integers[1].float()])),
        rel=1e-4,
    )
    assert all((bits == 0).all() for bits in of_second)


def test_bits_of_latents_are_those_of_the_nearest_integers() -> None:
    exact = [values.float() for values in rounded(latents())]
    assert bits_of(latents()) == bits_of(exact)
