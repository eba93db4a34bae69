import torch

from nern_core.analysis.baselines import Alternative, standard_codecs
from nern_core.tensors.checkpoint import read_checkpoint
from tests.conftest import RealCheckpoints


def by_name(tensors: dict[str, torch.Tensor]) -> dict[str, Alternative]:
    return {alternative.name: alternative for alternative in standard_codecs(tensors)}


def test_every_codec_gives_back_names_shapes_and_dtypes() -> None:
    tensors = {
        "conv": torch.randn(4, 3, 3, 3),
        "half": torch.randn(4, 8).half(),
        "bias": torch.randn(4),
        "count": torch.tensor(7),
        "empty": torch.empty(0, 3),
    }
    found = by_name(tensors)
    assert list(found) == ["zstd", "fp16", "int8", "int6", "int4"]
    for alternative in found.values():
        assert list(alternative.tensors) == list(tensors)
        for name, tensor in tensors.items():
            assert alternative.tensors[name].shape == tensor.shape
            assert alternative.tensors[name].dtype == tensor.dtype
        assert torch.equal(alternative.tensors["count"], tensors["count"])


def test_integers_take_their_bits_and_a_scale_for_each_row_and_the_rest_stays() -> None:
    tensors = {"matrix": torch.randn(3, 5), "bias": torch.randn(3), "count": torch.tensor(7)}
    assert by_name(tensors)["int6"].bytes == 12 + 3 * 4 + 3 * 4 + 8  # 15 symbols of 6 bits in 12 bytes
    assert torch.equal(by_name(tensors)["int6"].tensors["bias"], tensors["bias"])


def test_fp16_takes_two_bytes_where_that_saves_anything_and_loses_no_large_value() -> None:
    tensors = {"wide": torch.tensor([0.1, 2.0]), "half": torch.ones(3).half(), "large": torch.tensor([1e6])}
    fp16 = by_name(tensors)["fp16"]
    assert fp16.bytes == 2 * 2 + 3 * 2 + 4
    assert fp16.tensors["wide"].tolist() == [torch.tensor(0.1).half().float().item(), 2.0]
    assert fp16.tensors["large"].item() == 1e6


def test_zstd_loses_nothing_and_saves_what_repeats() -> None:
    tensors = {"noise": torch.randn(1000), "zeros": torch.zeros(100_000), "count": torch.tensor(7)}
    zstd = by_name(tensors)["zstd"]
    assert all(torch.equal(zstd.tensors[name], tensor) for name, tensor in tensors.items())
    assert 3000 < zstd.bytes < 4200


def test_tied_tensors_are_counted_once() -> None:
    matrix = torch.randn(16, 16)
    once, twice = by_name({"a": matrix}), by_name({"a": matrix, "b": matrix.clone()})
    assert {name: x.bytes for name, x in once.items()} == {name: x.bytes for name, x in twice.items()}
    assert torch.equal(twice["int4"].tensors["a"], twice["int4"].tensors["b"])


def test_the_public_resnet20_takes_what_an_independent_measurement_found(real: RealCheckpoints) -> None:
    tensors = read_checkpoint(real.checkpoints / "cifar10-resnet20.th").tensors
    sizes = {name: alternative.bytes for name, alternative in by_name(tensors).items()}
    # Weights look like noise to a byte compressor.
    assert 900_000 < sizes.pop("zstd") < 1_084_392
    assert sizes == {"fp16": 542196, "int8": 282176, "int6": 215092, "int4": 148008}
