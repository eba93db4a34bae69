import sys
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from nern_core.contract.errors import NernError
from nern_core.networks.datasets import has_labels, read_image_set, read_pixels
from tests.image_data import HUB_TYPE, parquet, png, saved, shades, table


def test_a_hub_folder_has_a_file_or_several_for_each_split(tmp_path: Path) -> None:
    parquet(tmp_path / "data" / "train-00000-of-00002.parquet", table(range(10), [0, 1] * 5))
    parquet(tmp_path / "data" / "train-00001-of-00002.parquet", table(range(10, 13), [2, 2, 2]))
    parquet(tmp_path / "data" / "validation-00000-of-00001.parquet", table([50, 51], [1, 2]))
    train, test = (read_image_set(tmp_path, split) for split in ("train", "test"))
    assert (shades(train.images), train.labels.tolist()) == (list(range(13)), [0, 1] * 5 + [2] * 3)
    assert (shades(test.images), test.labels.tolist()) == ([50, 51], [1, 2])
    assert test.notes == ()


def test_the_split_may_be_the_name_of_the_folder(tmp_path: Path) -> None:
    parquet(tmp_path / "default" / "train" / "0000.parquet", table(range(3), [0, 1, 2]))
    parquet(tmp_path / "default" / "test" / "0000.parquet", table([9], [0]))
    assert shades(read_image_set(tmp_path, "test").images) == [9]


def test_one_file_is_split_by_a_fixed_seed(tmp_path: Path) -> None:
    parquet(tmp_path / "all.parquet", table(range(10), range(10)))
    test = read_image_set(tmp_path / "all.parquet", "test")
    assert shades(test.images) == test.labels.tolist()
    assert len(test) == 2
    assert "has no separate test images: of 10 images, 2 were held out" in test.notes[0]


@pytest.mark.parametrize("kind", [pa.binary(), pa.large_binary()])
def test_images_may_be_plain_bytes_in_a_column_of_another_name(tmp_path: Path, kind: Any) -> None:
    content = pa.table({"img": pa.array([png(1), png(2)], kind), "fine_label": [5, 6], "coarse_label": [1, 1]})
    parquet(tmp_path / "all.parquet", content)
    found = [read_image_set(tmp_path, split) for split in ("train", "test")]
    assert sorted((shades(one.images)[0], int(one.labels[0])) for one in found) == [(1, 5), (2, 6)]


def test_columns_of_any_name_are_found_by_the_description_of_the_hub(tmp_path: Path) -> None:
    features = b'{"info": {"features": {"x": {"_type": "Image"}, "kind": {"names": ["a"], "_type": "ClassLabel"}}}}'
    content = table(range(4), [3, 2, 1, 0], "x").rename_columns(["x", "kind"])
    parquet(tmp_path / "all.parquet", content.replace_schema_metadata({b"huggingface": features}))
    assert read_image_set(tmp_path, "train").labels.tolist() == [
        3 - shade for shade in shades(read_image_set(tmp_path, "train").images)
    ]


def test_labels_that_are_names_are_numbered_in_the_order_of_the_alphabet(tmp_path: Path) -> None:
    parquet(tmp_path / "train.parquet", table(range(3), ["dog", "ant", "cat"]))
    parquet(tmp_path / "test.parquet", table([7], ["cat"]))
    assert read_image_set(tmp_path, "train").labels.tolist() == [2, 0, 1]
    test = read_image_set(tmp_path, "test")
    assert (test.labels.tolist(), test.notes) == (
        [1],
        ("The labels are names: they were numbered in the order of the alphabet.",),
    )


def test_images_without_labels_and_those_that_the_hub_hides_are_unlabelled(tmp_path: Path) -> None:
    parquet(tmp_path / "one" / "all.parquet", table(range(4), None))
    assert not has_labels(tmp_path / "one")
    for name, labels in (("train", [0, 1]), ("validation", [1, 0]), ("test", [-1, -1])):
        parquet(tmp_path / "two" / f"{name}.parquet", table(range(2), labels))
    assert read_image_set(tmp_path / "two", "test").labels.tolist() == [1, 0]
    parquet(tmp_path / "three" / "all.parquet", table(range(3), [[0, 1], [1], []]))
    found = read_pixels(tmp_path / "three", "test")
    assert found.labels is None
    assert found.notes[0].startswith("The column 'label' of ")


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        (pa.table({"text": ["a"], "n": [1]}), "has no column of images; it has 'text', 'n'"),
        (pa.table({"image": [[1, 2]]}), "has no column of images; it has 'image'"),
        (table([1, 2, 3], [0, None, 1]), "has no value in row 1 of the column 'label'"),
        (table([1, 2, 3], [0, -1, 1]), "has the label -1; labels are class indices, from 0"),
        (table([], []), "There are no images in"),
    ],
)
def test_other_tables_are_explained(tmp_path: Path, content: pa.Table, sentence: str) -> None:
    parquet(tmp_path / "all.parquet", content)
    with pytest.raises(NernError, match=sentence) as error:
        read_pixels(tmp_path, "train")
    assert error.value.code == "bad_data"


def test_rows_without_an_image_are_counted_and_named(tmp_path: Path) -> None:
    rows = [
        {"bytes": png(1), "path": None},
        {"bytes": None, "path": "/etc/passwd"},
        None,
        {"bytes": b"x", "path": None},
    ]
    parquet(tmp_path / "train.parquet", pa.table({"image": pa.array(rows, HUB_TYPE), "label": [0, 1, 2, 3]}))
    parquet(tmp_path / "test.parquet", table([7], [0]))
    train = read_image_set(tmp_path, "train")
    assert train.labels.tolist() == [0]
    (note,) = train.notes
    assert note == (
        "3 of 4 images of the train split cannot be read and were left out: '/etc/passwd' (it has no bytes, only a "
        "path), 'train.parquet, row 2' (it has no bytes, only a path), 'train.parquet, row 3' (it is no image of a "
        "known format)."
    )


def test_several_data_sets_in_one_folder_are_named(tmp_path: Path) -> None:
    for name in ("small", "large"):
        parquet(tmp_path / name / "train.parquet", table([1], [0]))
    with pytest.raises(NernError, match="has several data sets, such as 'large' and 'small'"):
        read_pixels(tmp_path, "train")


def test_a_damaged_file_is_one_sentence(tmp_path: Path) -> None:
    parquet(tmp_path / "all.parquet", table(range(40), range(40), "image"))
    content = (tmp_path / "all.parquet").read_bytes()
    for damaged in (content[:-100], content[:400] + bytes(200) + content[600:], b"PAR1" + bytes(50)):
        (tmp_path / "all.parquet").write_bytes(damaged)
        with pytest.raises(NernError) as error:
            read_pixels(tmp_path, "train")
        assert error.value.code == "bad_data"
        assert "\n" not in error.value.message


def test_without_pyarrow_the_extra_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    parquet(tmp_path / "all.parquet", table(range(4), range(4)))
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with pytest.raises(NernError, match=r"pip install 'nern\[data\]'") as error:
        read_pixels(tmp_path, "train")
    assert error.value.code == "missing_extra"


def test_a_folder_of_save_to_disk_is_read(tmp_path: Path) -> None:
    saved(tmp_path / "one", table(range(10), range(10)))
    train = read_image_set(tmp_path / "one", "train")
    assert len(train) == 8
    assert shades(train.images) == train.labels.tolist()


def test_a_folder_of_save_to_disk_with_splits_is_read(tmp_path: Path) -> None:
    saved(tmp_path / "train", table(range(4), range(4)))
    saved(tmp_path / "test", table([8, 9], [0, 1]))
    (tmp_path / "dataset_dict.json").write_text('{"splits": ["train", "test"]}')
    assert shades(read_image_set(tmp_path, "train").images) == [0, 1, 2, 3]
    assert shades(read_image_set(tmp_path, "test").images) == [8, 9]


def test_a_damaged_or_empty_folder_of_save_to_disk_is_one_sentence(tmp_path: Path) -> None:
    saved(tmp_path / "one", table(range(10), range(10)))
    path = tmp_path / "one" / "data-00000-of-00002.arrow"
    path.write_bytes(path.read_bytes()[:300])
    with pytest.raises(NernError, match=r"data-00000-of-00002\.arrow' cannot be read"):
        read_pixels(tmp_path / "one", "train")
    for file in (tmp_path / "one").glob("*.arrow"):
        file.unlink()
    with pytest.raises(NernError, match="without Arrow files"):
        read_pixels(tmp_path / "one", "train")


def test_files_may_be_links_as_in_the_cache_of_the_hub(tmp_path: Path) -> None:
    parquet(tmp_path / "blobs" / "abc", table(range(4), range(4)))
    folder = tmp_path / "snapshots" / "main" / "data"
    folder.mkdir(parents=True)
    (folder / "train-00000-of-00001.parquet").symlink_to(tmp_path / "blobs" / "abc")
    assert len(read_image_set(tmp_path / "snapshots" / "main", "train")) == 3
