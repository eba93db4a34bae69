import shutil
from pathlib import Path

import pytest

from nern_core.contract.errors import NernError
from nern_core.formats.other_datasets import DATASET_KINDS
from nern_core.networks.datasets import has_labels, read_image_set, read_pixels
from tests.image_data import class_folders, png, shades, write


def test_classes_are_numbered_by_their_sorted_names(tmp_path: Path) -> None:
    class_folders(tmp_path / "train", {"dog": 2, "cat": 1})
    class_folders(tmp_path / "val", {"cat": 1, "dog": 1}, shade=100)
    train, test = (read_image_set(tmp_path, split) for split in ("train", "test"))
    assert (train.labels.tolist(), shades(train.images)) == ([0, 1, 1], [2, 0, 1])
    assert (test.labels.tolist(), shades(test.images)) == ([0, 1], [100, 101])
    assert train.notes == test.notes == ()


@pytest.mark.parametrize("name", ["test", "validation", "val", "Valid", "dev"])
def test_the_images_to_measure_on_are_found_by_the_name_of_their_folder(tmp_path: Path, name: str) -> None:
    class_folders(tmp_path / "train", {"a": 2, "b": 2})
    class_folders(tmp_path / name, {"a": 1, "b": 1}, shade=50)
    assert shades(read_image_set(tmp_path, "test").images) == [50, 51]


def test_test_images_are_preferred_to_those_of_validation_unless_they_have_no_classes(tmp_path: Path) -> None:
    for name, shade in (("train", 0), ("val", 50), ("test", 100)):
        class_folders(tmp_path / name, {"a": 1, "b": 1}, shade=shade)
    assert shades(read_image_set(tmp_path, "test").images) == [100, 101]
    shutil.rmtree(tmp_path / "test")
    write(tmp_path / "test" / "1.png", png(9))
    assert shades(read_image_set(tmp_path, "test").images) == [50, 51]


def test_one_folder_is_split_by_a_fixed_seed_and_a_note_says_so(tmp_path: Path) -> None:
    class_folders(tmp_path, {"a": 5, "b": 5})
    train, test = (read_image_set(tmp_path, split) for split in ("train", "test"))
    assert len(test) == 2
    assert sorted(shades(train.images) + shades(test.images)) == list(range(10))
    assert shades(read_image_set(tmp_path, "test").images) == shades(test.images)
    assert test.notes == (
        (
            f"'{tmp_path}' has no separate test images: of 10 images, 2 were held out for measuring, chosen by a fixed "
            "seed."
        ),
    )


def test_names_with_spaces_empty_classes_and_folders_within_classes_are_fine(tmp_path: Path) -> None:
    class_folders(tmp_path / "train", {"a b": 1, "empty": 0, "z": 0})
    write(tmp_path / "train" / "z" / "images" / "1.PNG", png(7))
    class_folders(tmp_path / "test", {"a b": 1})
    assert read_image_set(tmp_path, "train").labels.tolist() == [0, 2]


def test_one_broken_image_of_a_thousand_is_counted_and_named(tmp_path: Path) -> None:
    class_folders(tmp_path / "train", {"cat": 2, "dog": 1})
    class_folders(tmp_path / "test", {"cat": 2, "dog": 2})
    write(tmp_path / "test" / "dog" / "broken.jpg", b"no image")
    found = read_image_set(tmp_path, "test")
    assert found.labels.tolist() == [0, 0, 1, 1]
    assert found.notes == (
        (
            "1 of 5 images of the test split cannot be read and was left out: 'test/dog/broken.jpg' (it is no image "
            "of a known format)."
        ),
    )


def test_images_that_are_all_broken_are_refused(tmp_path: Path) -> None:
    class_folders(tmp_path / "train", {"a": 1, "b": 1})
    write(tmp_path / "test" / "a" / "1.png", png(0)[:43])
    with pytest.raises(NernError, match=r"^No image of the test split can be read: 'test/a/1\.png' \(") as error:
        read_image_set(tmp_path, "test")
    assert error.value.code == "bad_data"


def test_hidden_files_are_ignored_and_others_named(tmp_path: Path) -> None:
    class_folders(tmp_path, {"a": 2, "b": 2})
    for name in (".DS_Store", "a/.hidden.png", "__MACOSX/a/1.png", "dataset.json"):
        write(tmp_path / name, b"{}")
    write(tmp_path / "a" / "picture.heic", b"x")
    write(tmp_path / "loose.png", png(200))
    notes = read_image_set(tmp_path, "train").notes
    assert notes[:2] == (
        "Files left out because they have other names than images: 1 ('a/picture.heic').",
        "Images left out because they lie outside of splits or classes: 1 ('loose.png').",
    )


def test_links_out_of_the_folder_are_not_followed(tmp_path: Path) -> None:
    root = tmp_path / "data"
    class_folders(root, {"a": 2, "b": 2})
    write(tmp_path / "secret.png", png(250))
    (root / "a" / "out.png").symlink_to(tmp_path / "secret.png")
    (root / "c").symlink_to(tmp_path)
    (root / "a" / "within.png").symlink_to(root / "b" / "0.png")
    train, test = (read_image_set(root, split) for split in ("train", "test"))
    assert sorted(shades(train.images) + shades(test.images)) == [0, 1, 2, 2, 3]
    assert train.notes[0] == ("Links to folders or out of the folder that were not followed: 2 ('a/out.png', 'c').")


def test_other_classes_than_those_of_the_training_images_are_refused(tmp_path: Path) -> None:
    class_folders(tmp_path / "train", {"a": 1, "b": 1})
    class_folders(tmp_path / "val", {"images": 2})
    with pytest.raises(NernError, match="images in the folder 'images', but there is no folder of this name") as error:
        read_image_set(tmp_path, "test")
    assert error.value.code == "bad_data"


def test_images_without_class_folders_have_no_labels(tmp_path: Path) -> None:
    for number in range(5):
        write(tmp_path / "images" / f"{number}.png", png(number))
    assert not has_labels(tmp_path)
    assert read_pixels(tmp_path, "train").labels is None
    with pytest.raises(NernError, match="have no labels") as error:
        read_image_set(tmp_path, "train")
    assert error.value.code == "bad_data"


def test_a_class_may_be_named_train(tmp_path: Path) -> None:
    class_folders(tmp_path, {"car": 4, "train": 4})
    assert sorted(set(read_image_set(tmp_path, "train").labels.tolist())) == [0, 1]


def test_the_folder_in_the_folder_of_an_archive_is_entered(tmp_path: Path) -> None:
    class_folders(tmp_path / "flowers" / "train", {"a": 1, "b": 1})
    class_folders(tmp_path / "flowers" / "test", {"a": 1, "b": 1}, shade=9)
    assert shades(read_image_set(tmp_path, "test").images) == [9, 10]


def test_a_single_image_is_too_few(tmp_path: Path) -> None:
    write(tmp_path / "1.png", png(0))
    with pytest.raises(NernError, match="only one image"):
        read_pixels(tmp_path, "train")


def test_folders_without_images_that_count_as_classes_are_named(tmp_path: Path) -> None:
    class_folders(tmp_path, {"a": 5, "c": 5})
    (tmp_path / "b").mkdir()
    found = read_image_set(tmp_path, "train")
    assert found.labels.unique().tolist() == [0, 2]
    assert found.notes[0] == "Folders without images that count as classes: 1 ('b'); remove any that is none."


def test_a_folder_without_images_is_answered_with_the_kinds_of_data_sets(tmp_path: Path) -> None:
    with pytest.raises(NernError) as error:
        read_pixels(tmp_path, "train")
    assert error.value.message == f"There is no data set in the folder '{tmp_path}': give {DATASET_KINDS}."


def test_a_lone_image_that_was_held_out_is_singular(tmp_path: Path) -> None:
    class_folders(tmp_path, {"a": 1, "b": 1})
    assert "of 2 images, 1 was held out" in read_image_set(tmp_path, "test").notes[0]
