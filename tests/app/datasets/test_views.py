from datetime import UTC, datetime
from typing import Any

import pytest

from app.datasets.models import Dataset
from app.datasets.views import DatasetView, SplitView

SPLIT = {"images": 3, "height": 4, "width": 5, "bytes": 204}
UNKNOWN = SplitView(bytes=0, images=None, shape=None)


def view_of(splits: Any) -> DatasetView:
    now = datetime(2026, 1, 1, tzinfo=UTC)
    row = Dataset(tenant="acme", name="mine", sha256="0" * 64, bytes=408, splits=splits, created_at=now)
    return DatasetView.of(row)


def test_the_splits_are_those_of_the_row() -> None:
    view = view_of({"train": SPLIT, "test": {**SPLIT, "images": 2}})
    assert view.train == SplitView(bytes=204, images=3, shape=[4, 5, 3])
    assert view.test.images == 2


def test_arrays_have_names_and_shapes() -> None:
    array = {"name": "inputs.ids", "dtype": "I64", "shape": [640, 12]}
    view = view_of({"arrays": [array]})
    assert view.arrays is not None
    assert [found.model_dump() for found in view.arrays] == [array]
    assert (view.train, view.test) == (UNKNOWN, UNKNOWN)


def test_text_lines_have_a_size() -> None:
    view = view_of({"text_bytes": 12})
    assert (view.text_bytes, view.arrays, view.train) == (12, None, UNKNOWN)
    assert view_of({"train": SPLIT}).text_bytes is None


def test_parts_that_another_release_adds_or_leaves_out_change_nothing_else() -> None:
    view = view_of({"train": {**SPLIT, "colours": 3}, "test": {"bytes": 5}, "validation": SPLIT})
    assert (view.train, view.test) == (
        SplitView(bytes=204, images=3, shape=[4, 5, 3]),
        SplitView(bytes=5, images=None, shape=None),
    )


@pytest.mark.parametrize(
    "splits", [None, [], "x", {"train": []}, {"train": {"bytes": None}}, {"test": {"images": "x"}}]
)
def test_splits_of_another_kind_are_unknown_and_the_data_set_is_still_shown(splits: Any) -> None:
    view = view_of(splits)
    assert (view.name, view.bytes, view.train, view.test) == ("mine", 408, UNKNOWN, UNKNOWN)
