import pytest
import torch
from torch import Tensor

from nern_core.networks.box_operators import nms, roi_align
from nern_core.networks.torchvision_models import import_models

import_models()

# The value of each pixel is its column plus ten times its row.
RAMP = (torch.arange(6.0)[None] + 10 * torch.arange(5.0)[:, None])[None, None]


def region(*edges: float, image: int = 0) -> Tensor:
    return torch.tensor([[image, *edges]])


def test_a_box_that_overlaps_a_better_one_is_suppressed() -> None:
    boxes = torch.tensor([[0.0, 0, 10, 10], [0, 0, 10, 6], [20, 20, 30, 30], [0, 0, 10, 5]])
    scores = torch.tensor([0.5, 0.9, 0.7, 0.1])
    # The overlaps with the second are 0.6 and 5 / 6, that of the first and the last is 0.5.
    assert nms(boxes, scores, 0.5).tolist() == [1, 2]
    assert nms(boxes, scores, 0.7).tolist() == [1, 2, 0]
    assert nms(boxes, scores, 0.9).tolist() == [1, 2, 0, 3]


def test_boxes_without_area_and_no_boxes_are_left() -> None:
    assert nms(torch.zeros(2, 4), torch.tensor([0.1, 0.2]), 0.5).tolist() == [1, 0]
    assert nms(torch.zeros(0, 4), torch.zeros(0), 0.5).tolist() == []


def test_the_cells_of_a_region_are_the_means_of_their_samples() -> None:
    found = roi_align(RAMP, region(0, 0, 4, 2), 1.0, 1, 2, 2, aligned=False)
    assert found.tolist() == [[[[11.0, 13.0]]]]
    aligned = roi_align(RAMP, region(0.5, 0.5, 4.5, 2.5), 1.0, 1, 2, 2, aligned=True)
    assert aligned.tolist() == [[[[11.0, 13.0]]]]


def test_regions_are_scaled_to_the_feature_map() -> None:
    found = roi_align(RAMP, region(0, 0, 16, 8), 0.25, 1, 2, 2, aligned=False)
    assert found.tolist() == [[[[11.0, 13.0]]]]


@pytest.mark.parametrize(("ratio", "expected"), [(1, 11.5), (0, 11.5), (-1, 11.5)])
def test_the_mean_of_a_ramp_is_the_same_for_any_number_of_samples(ratio: int, expected: float) -> None:
    assert roi_align(RAMP, region(0, 0, 3, 2), 1.0, 1, 1, ratio, aligned=False).item() == pytest.approx(expected)


def test_samples_count_once_for_each_pixel_unless_their_number_is_given() -> None:
    peak = torch.zeros(1, 1, 1, 5)
    peak[..., 2] = 1
    # Samples at the columns 0.5, 1.5, 2.5 and 3.5, of which two are half a pixel from the peak.
    assert roi_align(peak, region(0, 0, 4, 1), 1.0, 1, 1, 0, aligned=False).item() == pytest.approx(0.25)
    assert roi_align(peak, region(0, 0, 4, 1), 1.0, 1, 1, 1, aligned=False).item() == 1


def test_samples_beyond_the_edge_have_its_value_and_those_far_outside_are_zero() -> None:
    ones = torch.ones(1, 1, 4, 4)
    assert roi_align(ones, region(-0.9, 0, 0.1, 1), 1.0, 1, 1, 1, aligned=False).item() == 1
    assert roi_align(ones, region(-4, 0, 0, 1), 1.0, 1, 1, 4, aligned=False).item() == 0.25


def test_regions_of_several_images_keep_their_order() -> None:
    images = torch.cat([RAMP, 100 + RAMP])
    regions = torch.cat([region(0, 0, 2, 2, image=1), region(0, 0, 2, 2), region(1, 0, 3, 2, image=1)])
    found = roi_align(images, regions, 1.0, 1, 1, 2, aligned=False)
    assert found.flatten().tolist() == [111.0, 11.0, 112.0]


def test_pooled_features_have_gradients() -> None:
    features = torch.zeros(1, 1, 3, 3, requires_grad=True)
    roi_align(features, region(0.5, 0.5, 1.5, 1.5), 1.0, 1, 1, 1, aligned=False).backward()
    assert features.grad is not None
    assert features.grad.flatten().tolist() == [0, 0, 0, 0, 1, 0, 0, 0, 0]


def test_torchvision_computes_the_same_with_its_own_or_with_these() -> None:
    from torchvision import ops

    boxes = torch.tensor([[0.0, 0, 3, 3], [0, 0, 3, 2], [1, 1, 4, 4]])
    scores = torch.tensor([0.5, 0.9, 0.7])
    assert torch.equal(ops.nms(boxes, scores, 0.5), nms(boxes, scores, 0.5))
    regions = torch.cat([torch.zeros(3, 1), boxes], dim=1)
    for ratio in (0, 2):
        expected = roi_align(RAMP, regions, 1.0, 3, 2, ratio, aligned=False)
        torch.testing.assert_close(ops.roi_align(RAMP, [boxes], (3, 2), sampling_ratio=ratio), expected)
