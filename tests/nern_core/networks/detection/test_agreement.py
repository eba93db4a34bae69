from collections.abc import Sequence

import pytest
import torch
from torch import Tensor

from nern_core.networks.detection.agreement import BoxMeter
from nern_core.networks.torchvision_models import import_models

import_models()

# A box, its class and its score.
Found = tuple[tuple[int, int, int, int], int, float]

LEFT, RIGHT = (0, 0, 10, 10), (20, 0, 30, 10)
# Of an intersection over union with LEFT of exactly 0.5, and of 0.4.
HALF, LESS = (0, 0, 10, 5), (0, 0, 10, 4)


def detections(*found: Found) -> dict[str, Tensor]:
    return {
        "boxes": torch.tensor([box for box, _, _ in found], dtype=torch.float32).reshape(-1, 4),
        "labels": torch.tensor([label for _, label, _ in found], dtype=torch.int64),
        "scores": torch.tensor([score for _, _, score in found], dtype=torch.float32),
    }


def f1(original: Sequence[Found], changed: Sequence[Found]) -> float | None:
    meter = BoxMeter()
    meter.add([detections(*original)], [detections(*changed)])
    return meter.f1


@pytest.mark.parametrize(
    ("changed", "expected"),
    [
        ([(LEFT, 1, 0.9), (RIGHT, 2, 0.8)], 100.0),
        ([(RIGHT, 2, 0.6), (LEFT, 1, 0.5)], 100.0),
        ([(HALF, 1, 0.9), (RIGHT, 2, 0.8)], 100.0),
        ([(LESS, 1, 0.9), (RIGHT, 2, 0.8)], 50.0),
        ([(LEFT, 2, 0.9), (RIGHT, 2, 0.8)], 50.0),
        ([(LEFT, 1, 0.9)], 100 * 2 / 3),
        ([(LEFT, 1, 0.9), (RIGHT, 2, 0.49)], 100 * 2 / 3),
        ([(LEFT, 1, 0.9), (LEFT, 1, 0.8), (RIGHT, 2, 0.8)], 80.0),
        ([], 0.0),
    ],
)
def test_boxes_match_by_class_overlap_and_score(changed: list[Found], expected: float) -> None:
    assert f1([(LEFT, 1, 0.9), (RIGHT, 2, 0.8)], changed) == pytest.approx(expected)
    assert f1(changed, [(LEFT, 1, 0.9), (RIGHT, 2, 0.8)]) == pytest.approx(expected)


def test_without_boxes_there_is_no_score() -> None:
    assert f1([(LEFT, 1, 0.4)], [(LEFT, 1, 0.3)]) is None


def test_boxes_are_matched_within_their_image_and_counted_over_all() -> None:
    meter = BoxMeter()
    left, nothing = detections((LEFT, 1, 0.9)), detections()
    meter.add([left, nothing], [nothing, left])
    assert meter.f1 == 0.0
    meter.add([left], [left])
    assert meter.f1 == 50.0
