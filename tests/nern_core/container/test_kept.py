import pytest
import torch
from torch import Tensor

from nern_core.container.document import KeptTensor
from nern_core.container.kept import Kept, RoundedTensor, compress_kept, pack_kept, unpack_kept, values_of
from nern_core.container.stored_tensors import StoredTensor
from nern_core.contract.errors import NernError

TENSORS: dict[str, Tensor] = {
    "vector": torch.tensor([1.5, -2.0, 3.25]),
    "matrix": torch.arange(6.0).view(2, 3),
    "half": torch.tensor([1.0, 2.0], dtype=torch.float16),
    "brain": torch.tensor([1.0, 3.0], dtype=torch.bfloat16),
    "scalar": torch.tensor(7),
    "flags": torch.tensor([True, False]),
    "zeros": torch.zeros(4),
    "negative zeros": torch.zeros(4).neg(),
    "ones": torch.ones(2, 2, dtype=torch.float64),
    "empty": torch.empty(0, 3),
    "large": torch.tensor([2**62 + 1, 2**62 + 1]),
    "infinite": torch.full((2,), torch.inf),
}


def stored(flat: dict[str, Tensor]) -> dict[str, StoredTensor]:
    """Return the tensors of a file with these values, each dtype compressed where that is smaller."""
    return {
        name: StoredTensor(
            str(values.dtype).removeprefix("torch."),
            tuple(values.shape),
            values.view(torch.uint8).numpy().tobytes() if values.numel() else b"",
        )
        for name, values in compress_kept(flat).items()
    }


def test_every_tensor_comes_back_bit_for_bit() -> None:
    entries, flat = pack_kept(TENSORS)
    found = unpack_kept(stored(flat), entries)
    assert list(found) == list(TENSORS)
    for name, tensor in TENSORS.items():
        value = values_of(found[name])
        assert (value.dtype, value.shape) == (tensor.dtype, tensor.shape)
        assert value.flatten().view(torch.uint8).tolist() == tensor.flatten().view(torch.uint8).tolist(), name


def test_constants_take_no_room() -> None:
    names = ("scalar", "zeros", "ones", "large")
    entries, flat = pack_kept({name: TENSORS[name] for name in names})
    assert flat == {}
    assert [entry.constant for entry in entries] == [7, 0.0, 1.0, 2**62 + 1]


def test_rounded_tensors_are_integers_times_a_step() -> None:
    kept: dict[str, Kept] = {"v": RoundedTensor(torch.tensor([1, -127], dtype=torch.int8), -16, torch.float16)}
    entries, flat = pack_kept(kept)
    found = unpack_kept(stored(flat), entries)["v"]
    assert values_of(found).tolist() == [0.25, -31.75]
    assert values_of(found).dtype == torch.float16
    assert flat["int8"].nbytes == 2


@pytest.mark.parametrize(
    ("entry", "flat"),
    [
        (KeptTensor(name="x", shape=(3,), dtype="float32"), {"float32": torch.ones(2)}),
        (KeptTensor(name="x", shape=(3,), dtype="float32"), {"float32": torch.ones(4)}),
        (KeptTensor(name="x", shape=(3,), dtype="float32"), {}),
        (KeptTensor(name="x", shape=(3,), dtype="text"), {}),
        (KeptTensor(name="x", shape=(), dtype="float32", constant=1.0), {"float32": torch.ones(1)}),
    ],
)
def test_values_that_are_missing_or_left_over_are_refused(entry: KeptTensor, flat: dict[str, Tensor]) -> None:
    with pytest.raises(NernError, match="do not match its list of tensors"):
        unpack_kept(stored(flat), [entry])
