import json
from pathlib import Path

import numpy as np
import pytest

from tests.conftest import DIGITS, EXAMPLE
from tests.dataset_files import digits_file, small_file
from tests.image_data import archive, class_folders, parquet, png, table
from tests.nern_cli.conftest import Run


def test_a_folder_is_put_into_one_file_and_uploaded(nern: Run, capsys: pytest.CaptureFixture[str]) -> None:
    for _ in range(2):
        assert nern("datasets", "upload", "digits", str(DIGITS)) == 0
        assert capsys.readouterr().out == "digits: 1297 images to train on, 500 to test on\n"
    assert nern("submit", str(EXAMPLE), "--architecture", "digits-cnn", "--dataset", "digits", "--json") == 0
    assert json.loads(capsys.readouterr().out)["options"]["dataset"] == "digits"


def test_data_sets_are_listed_in_lines_for_programs(
    nern: Run, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    for name, content in (("digits", digits_file()), ("small", small_file())):
        (tmp_path / name).write_bytes(content)
        assert nern("datasets", "upload", name, str(tmp_path / name), "--json") == 0
        assert json.loads(capsys.readouterr().out)["bytes"] == len(content)
    assert nern("datasets", "list") == 0
    assert capsys.readouterr().out == "digits\tupload\t1297\t500\nsmall\tupload\t3\t2\n"
    assert nern("datasets", "delete", "small") == 0
    assert capsys.readouterr().out == "small is deleted.\n"
    assert nern("datasets", "list", "--json") == 0
    assert [item["name"] for item in json.loads(capsys.readouterr().out)["datasets"]] == ["digits"]


def test_images_in_folders_are_decoded_and_uploaded_and_what_was_left_out_is_said(
    nern: Run, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    class_folders(tmp_path / "pets", {"cat": 5, "dog": 5})
    (tmp_path / "pets" / "dog" / "notes.txt").write_text("no image")
    assert nern("datasets", "upload", "pets", str(tmp_path / "pets"), "--input-size", "16") == 0
    out, err = capsys.readouterr()
    assert out == "pets: 8 images to train on, 2 to test on\n"
    assert "Files left out because they have other names than images: 1 ('dog/notes.txt')." in " ".join(err.split())
    assert "of 10 images, 2 were held out for measuring" in " ".join(err.split())
    assert nern("datasets", "list", "--json") == 0
    assert json.loads(capsys.readouterr().out)["datasets"][0]["train"]["shape"] == [16, 16, 3]


def test_parquet_and_archives_are_uploaded(nern: Run, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    parquet(tmp_path / "hub.parquet", table(range(10), range(10)))
    archive(tmp_path / "web.tar", {f"{number}.png": png(number) for number in range(10)})
    for name in ("hub.parquet", "web.tar"):
        assert nern("datasets", "upload", name, str(tmp_path / name)) == 0
        assert capsys.readouterr().out == f"{name}: 8 images to train on, 2 to test on\n"


def test_arrays_are_uploaded_and_listed_with_the_number_of_examples(
    nern: Run, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    np.savez(tmp_path / "words.npz", **{"inputs.ids": np.zeros((6, 3), np.int64), "labels": np.zeros(6, np.int64)})  # type: ignore[arg-type] # its annotation has no names
    assert nern("datasets", "upload", "words", str(tmp_path / "words.npz")) == 0
    assert capsys.readouterr().out == "words: 6 examples of inputs.ids, labels\n"
    assert nern("datasets", "list") == 0
    assert capsys.readouterr().out == "words\tupload\t6\t\n"


def test_text_lines_are_uploaded_without_the_empty_ones(
    nern: Run, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    (tmp_path / "lines.txt").write_text("a cat\n\n a warm wall\n")
    assert nern("datasets", "upload", "lines", str(tmp_path / "lines.txt")) == 0
    assert capsys.readouterr().out == f"lines: {len('a cat' + chr(10) + 'a warm wall')} bytes of text lines\n"
    assert nern("datasets", "list") == 0
    assert capsys.readouterr().out == "lines\tupload\t17 bytes of text\t\n"
    (tmp_path / "latin.txt").write_bytes(b"\xe4")
    assert nern("datasets", "upload", "latin", str(tmp_path / "latin.txt")) == 9
    assert "latin.txt' is not text in UTF-8; save it in this encoding." in " ".join(capsys.readouterr().err.split())


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04 and nothing more", b"PAR1 and nothing more"])
def test_broken_files_are_one_sentence(
    nern: Run, capsys: pytest.CaptureFixture[str], tmp_path: Path, content: bytes
) -> None:
    for name in ("broken.npz", "broken.parquet", "broken.tar"):
        (tmp_path / name).write_bytes(content)
        assert nern("datasets", "upload", "broken", str(tmp_path / name)) == 9
        out, err = capsys.readouterr()
        assert (out, err.count("nern: ")) == ("", 1)
        assert "Traceback" not in err


def test_what_goes_wrong_is_one_sentence(nern: Run, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    assert nern("datasets", "upload", "weights", str(EXAMPLE)) == 9
    assert (
        "has the weights of a network, such as 'features.1.num_batches_tracked', and no data set."
        in capsys.readouterr().err
    )
    assert nern("datasets", "upload", "nothing", str(tmp_path)) == 9
    assert "There is no data set in the folder" in capsys.readouterr().err
    assert nern("datasets", "delete", "nothing") == 1
    assert capsys.readouterr().err == "nern: You have not uploaded a data set named 'nothing'.\n"
