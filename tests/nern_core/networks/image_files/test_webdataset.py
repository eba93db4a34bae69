import gzip
import zipfile
from pathlib import Path

import pytest

from nern_core.contract.errors import NernError
from nern_core.networks.dataset_files import write_dataset_file
from nern_core.networks.datasets import has_labels, read_image_set, read_pixels
from tests.image_data import archive, png, shades


def members(shades: range, *, start: int = 0) -> dict[str, bytes]:
    found: dict[str, bytes] = {}
    for number, shade in enumerate(shades, start):
        found |= {f"{number:06}.png": png(shade), f"{number:06}.cls": str(shade).encode()}
    return found


def test_archives_have_images_and_classes_of_the_same_key(tmp_path: Path) -> None:
    archive(tmp_path / "train-000.tar", members(range(3)))
    archive(tmp_path / "train-001.tar", members(range(3, 5)))
    archive(tmp_path / "val-000.tar", members(range(7, 9)))
    train, test = (read_image_set(tmp_path, split) for split in ("train", "test"))
    assert shades(train.images) == train.labels.tolist() == [0, 1, 2, 3, 4]
    assert shades(test.images) == test.labels.tolist() == [7, 8]


def test_the_order_of_members_and_those_of_other_kinds_do_not_matter(tmp_path: Path) -> None:
    content = {
        "./a/1.cls": b"3\n",
        "./a/1.json": b'{"label": 9}',
        "./a/1.png": png(3),
        "./a/2.txt": b"no image",
        "./b/1.jpg.png": png(4),
        "./b/1.json": b'{"label": 4}',
    }
    archive(tmp_path / "all.tar", content)
    found = [read_image_set(tmp_path / "all.tar", split) for split in ("train", "test")]
    assert sorted((shades(one.images), one.labels.tolist()) for one in found) == [([3], [3]), ([4], [4])]


def test_images_without_classes_are_unlabelled_and_counted_if_others_have_one(tmp_path: Path) -> None:
    archive(tmp_path / "all.tar", {"1.png": png(1), "2.png": png(2), "2.cls": b"2"})
    assert not has_labels(tmp_path)
    assert read_pixels(tmp_path, "test").notes[0] == (
        "1 of 2 images has no label (`KEY.cls`), so all count as unlabelled."
    )


@pytest.mark.parametrize("label", [b"cat", b"", b"9" * 30])
def test_a_label_that_is_no_class_index_is_named(tmp_path: Path, label: bytes) -> None:
    archive(tmp_path / "all.tar", {"1.png": png(1), "1.cls": label})
    with pytest.raises(NernError, match=r"The label '1\.cls' in '.*all\.tar' is not a class index"):
        read_pixels(tmp_path, "train")


def test_damaged_and_compressed_archives_are_one_sentence(tmp_path: Path) -> None:
    path = tmp_path / "all.tar"
    archive(path, members(range(4)))
    content = path.read_bytes()
    for damaged in (gzip.compress(content), content[:900], b"", bytes(range(256)) * 10):
        path.write_bytes(damaged)
        with pytest.raises(NernError) as error:
            read_pixels(path, "train")
        assert error.value.code == "bad_data"
        assert "\n" not in error.value.message


def test_an_archive_beside_its_images_is_not_read(tmp_path: Path) -> None:
    archive(tmp_path / "all.tar", members(range(4)))
    for number in range(2):
        (tmp_path / f"{number}.png").write_bytes(png(99))
    assert shades(read_pixels(tmp_path, "train").images) == [99]


def test_a_file_is_known_by_its_content(tmp_path: Path) -> None:
    archive(tmp_path / "web", members(range(5)))
    assert len(read_pixels(tmp_path / "web", "train").images) == 4
    write_dataset_file(tmp_path / "web", tmp_path / "packed.tar")
    assert len(read_pixels(tmp_path / "packed.tar", "train").images) == 4


def test_a_zip_archive_is_to_be_unpacked(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "pets.zip", "w") as file:
        file.writestr("cat/1.png", png(1))
    with pytest.raises(NernError, match=r"pets\.zip' is a zip archive; give the unpacked folder") as error:
        read_pixels(tmp_path / "pets.zip", "train")
    assert error.value.code == "not_a_dataset"


def test_an_empty_file_and_one_array_are_named(tmp_path: Path) -> None:
    path = tmp_path / "x.npz"
    for content, sentence in ((b"", "x.npz' is an empty file"), (b"\x93NUMPY\x01\x00", r"x.npz' holds one array")):
        path.write_bytes(content)
        with pytest.raises(NernError, match=sentence) as error:
            read_pixels(path, "train")
        assert error.value.code == "bad_data"


def test_folders_in_an_archive_are_no_classes_and_that_is_said(tmp_path: Path) -> None:
    archive(tmp_path / "all.tar", {"cat/1.png": png(1), "cat/2.png": png(2), "dog/3.png": png(3)})
    assert read_pixels(tmp_path / "all.tar", "test").notes[0] == (
        "The images in the archive have no labels (`KEY.cls`), but lie in 2 folders: unpack it to use these as classes."
    )
