import torch

from nern_core.codec.layers import CLASSES
from nern_core.representations.quantized.coordinate_scales import CoordinateScales, fit_scales


def test_a_class_is_the_sum_of_a_row_of_each_table() -> None:
    tables = (torch.tensor([10, 20]), torch.tensor([0, 3, -2]), torch.tensor([1, 0]))
    scales = CoordinateScales(*(table.to(torch.int32) for table in tables))
    assert scales.classes().tolist() == [[[11, 10], [14, 13], [9, 8]], [[21, 20], [24, 23], [19, 18]]]


def test_classes_stay_within_their_range() -> None:
    tables = (torch.tensor([-5, 500]), torch.tensor([0]), torch.tensor([0]))
    scales = CoordinateScales(*(table.to(torch.int32) for table in tables))
    assert scales.classes().flatten().tolist() == [0, CLASSES - 1]


def test_factors_of_the_axes_are_found() -> None:
    generator = torch.Generator().manual_seed(0)
    filters, channels = torch.tensor([1.0, 2.0, 4.0, 8.0]), torch.tensor([1.0] * 8 + [4.0] * 8)
    signs = torch.rand(4, 16, 9, generator=generator).sub(0.5).sign()
    integers = (10 * signs * filters[:, None, None] * channels[:, None]).to(torch.int32)
    scales = fit_scales(integers)
    # Three classes make an octave.
    assert scales.filters.diff().tolist() == [3, 3, 3]
    assert scales.channels.tolist() == [-3] * 8 + [3] * 8
    assert scales.positions.tolist() == [0] * 9


def test_a_layer_of_zeros_has_the_lowest_classes() -> None:
    assert fit_scales(torch.zeros(2, 3, 9, dtype=torch.int32)).classes().max() < 10


def test_a_table_of_noise_is_left_out() -> None:
    integers = torch.randn(4, 200, 1, generator=torch.Generator().manual_seed(0)).mul(3).round().to(torch.int32)
    assert fit_scales(integers).channels.unique().numel() == 1


def test_a_table_that_saves_more_than_it_takes_is_kept() -> None:
    columns = torch.logspace(0, 3, 200, base=2)[:, None]
    values = torch.randn(64, 200, 1, generator=torch.Generator().manual_seed(0)) * 3 * columns
    assert fit_scales(values.round().to(torch.int32)).channels.unique().numel() > 5
