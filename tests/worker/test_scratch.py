import os
from pathlib import Path

import pytest

from worker.scratch import remove_tree


def test_folders_that_are_nested_too_deep_for_a_path_are_removed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = tmp_path / "root"
    root.mkdir()
    (root / "moved-0").mkdir()
    monkeypatch.chdir(root)
    for _ in range(300):
        Path("x" * 50).mkdir()
        os.chdir("x" * 50)
        Path("file").touch()
    os.chdir(tmp_path)
    remove_tree(root)
    assert not root.exists()


def test_folders_that_nobody_may_look_into_are_removed(tmp_path: Path) -> None:
    root = tmp_path / "root"
    (root / "a" / "b").mkdir(parents=True)
    (root / "a" / "b").chmod(0)
    (root / "a").chmod(0)
    remove_tree(root)
    assert not root.exists()


def test_links_are_removed_and_not_followed(tmp_path: Path) -> None:
    (tmp_path / "kept").mkdir()
    (tmp_path / "kept" / "file").touch()
    root = tmp_path / "root"
    (root / "a").mkdir(parents=True)
    (root / "a" / "link").symlink_to(tmp_path / "kept")
    (root / "link").symlink_to(tmp_path / "kept")
    remove_tree(root)
    assert not root.exists()
    assert (tmp_path / "kept" / "file").exists()


def test_a_folder_that_is_gone_is_no_error(tmp_path: Path) -> None:
    remove_tree(tmp_path / "root")
