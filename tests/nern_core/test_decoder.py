import dataclasses
from pathlib import Path
from typing import Any

import pytest
import torch

from nern_core.container.encoding import Encoding
from nern_core.contract.errors import NernError
from nern_core.contract.options import EncodeOptions, Permutation
from nern_core.decoder import Arithmetic, decode, decode_encoding, decode_kernel, decode_layer
from nern_core.encoder import encode
from nern_core.representations.files import read_encoding
from tests.conftest import EXAMPLE


@pytest.fixture
def encoding(tmp_path: Path) -> Path:
    encode(EXAMPLE, tmp_path / "x.nern", EncodeOptions(hidden_size=24, steps=5))
    return tmp_path / "x.nern"


@pytest.fixture(params=list(Permutation))
def any_encoding(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    encode(EXAMPLE, tmp_path / "x.nern", EncodeOptions(hidden_size=24, steps=5, permutation=request.param))
    return tmp_path / "x.nern"


def test_the_bits_do_not_depend_on_the_number_of_threads(any_encoding: Path) -> None:
    threads = torch.get_num_threads()
    found = []
    try:
        for count in (1, 2, 5):
            torch.set_num_threads(count)
            found.append(decode(any_encoding).tensors)
            assert torch.get_num_threads() == count
    finally:
        torch.set_num_threads(threads)
    assert all(torch.equal(found[0][name], other[name]) for other in found[1:] for name in found[0])


def test_decoding_needs_the_file_alone_and_keeps_names_shapes_dtypes_and_order(encoding: Path) -> None:
    from nern_core.tensors.checkpoint import read_checkpoint

    original, decoded = read_checkpoint(EXAMPLE).tensors, decode(encoding).tensors
    assert list(decoded) == list(original)
    for name, tensor in original.items():
        assert (decoded[name].shape, decoded[name].dtype) == (tensor.shape, tensor.dtype)


@pytest.fixture
def quantized_encoding(tmp_path: Path) -> Path:
    encode(EXAMPLE, tmp_path / "q.nern", EncodeOptions(target_bytes=20_000))
    return tmp_path / "q.nern"


def test_a_layer_decodes_alone_to_the_same_bits(any_encoding: Path, quantized_encoding: Path) -> None:
    for path in (any_encoding, quantized_encoding):
        encoding, all_tensors = read_encoding(path), decode(path).tensors
        for layer in encoding.document.layers:
            assert torch.equal(decode_layer(encoding, layer.name), all_tensors[layer.name])


def test_a_kernel_decodes_alone(any_encoding: Path, quantized_encoding: Path) -> None:
    for path in (any_encoding, quantized_encoding):
        encoding, all_tensors = read_encoding(path), decode(path).tensors
        layer = encoding.document.layers[-1]
        assert layer.tile is None
        for filter_, channel in ((0, 0), (2, 1), (layer.filters - 1, layer.channels - 1)):
            kernel = decode_kernel(encoding, layer.name, filter_, channel)
            torch.testing.assert_close(kernel, all_tensors[layer.name][filter_, channel], rtol=2e-7, atol=0)


def test_what_is_not_there_cannot_be_decoded_alone(encoding: Path) -> None:
    read = read_encoding(encoding)
    with pytest.raises(NernError, match="does not represent") as error:
        decode_layer(read, "bias")
    assert error.value.code == "unknown_tensor"
    with pytest.raises(IndexError, match="filters"):
        decode_kernel(read, read.document.layers[0].name, 10_000, 0)


def with_dtype(encoding: Encoding[Any], dtype: str) -> Encoding[Any]:
    layers = tuple(
        dataclasses.replace(layer, dtype=dtype)  # type: ignore[arg-type] # one of four
        for layer in encoding.document.layers
    )
    return dataclasses.replace(encoding, document=encoding.document.model_copy(update={"layers": layers}))


@pytest.mark.parametrize("dtype", ["float16", "bfloat16", "float32", "float64"])
def test_weights_are_rounded_once_to_the_dtype_of_the_original(encoding: Path, dtype: str) -> None:
    read = read_encoding(encoding)
    exact = decode_encoding(with_dtype(read, "float64")).tensors
    rounded = decode_encoding(with_dtype(read, dtype)).tensors
    for layer in read.document.layers:
        assert torch.equal(rounded[layer.name], exact[layer.name].to(getattr(torch, dtype)))


def relative_to_largest(found: torch.Tensor, expected: torch.Tensor) -> float:
    return float((found.double() - expected.double()).abs().max() / expected.double().abs().max())


def test_single_precision_changes_a_few_millionths_of_the_largest_weights(any_encoding: Path) -> None:
    encoding, exact = read_encoding(any_encoding), decode(any_encoding).tensors
    single = Arithmetic(dtype=torch.float32)
    fast = decode(any_encoding, single).tensors
    for layer in encoding.document.layers:
        assert 0 < relative_to_largest(fast[layer.name], exact[layer.name]) < 1e-5
        assert torch.equal(decode_layer(encoding, layer.name, single), fast[layer.name])


def test_quantized_weights_are_the_same_in_any_arithmetic(quantized_encoding: Path) -> None:
    exact = decode(quantized_encoding).tensors
    fast = decode(quantized_encoding, Arithmetic(dtype=torch.float32)).tensors
    assert all(torch.equal(fast[name], exact[name]) for name in exact)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no GPU here")
def test_a_gpu_decodes_the_same_weights_to_a_rounding(any_encoding: Path) -> None:
    exact = decode(any_encoding).tensors
    found = decode(any_encoding, Arithmetic(device=torch.device("cuda"))).tensors
    for name, tensor in exact.items():
        torch.testing.assert_close(found[name], tensor, rtol=2e-7, atol=0)
