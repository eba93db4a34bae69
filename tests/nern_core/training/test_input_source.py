import torch

from nern_core.networks.input_batch import InputBatch
from nern_core.training.input_source import StoredBatches


def drawn(count: int) -> list[int]:
    """Return the numbers of the batches drawn from five."""
    batches = [InputBatch(torch.full((2,), number)) for number in range(5)]
    source = StoredBatches(batches, torch.Generator().manual_seed(0), torch.device("cpu"))
    found = []
    for inputs in source.several(count):
        assert isinstance(inputs, torch.Tensor)
        found.append(int(inputs[0]))
    return found


def test_several_batches_are_different_ones() -> None:
    assert len(set(drawn(4))) == 4


def test_more_batches_than_there_are_is_all_of_them() -> None:
    assert sorted(drawn(9)) == [0, 1, 2, 3, 4]
