import json
from pathlib import Path

import pytest

from tests.conftest import DIGITS, EXAMPLE
from tests.dataset_files import digits_file, small_file
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


def test_what_goes_wrong_is_one_sentence(nern: Run, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    assert nern("datasets", "upload", "weights", str(EXAMPLE)) == 9
    assert "has no tensor 'train.images'" in capsys.readouterr().err
    assert nern("datasets", "upload", "nothing", str(tmp_path)) == 9
    assert "There is no train.npz" in capsys.readouterr().err
    assert nern("datasets", "delete", "nothing") == 1
    assert capsys.readouterr().err == "nern: You have not uploaded a data set named 'nothing'.\n"
