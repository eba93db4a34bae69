"""The table of options in docs/encoding.md."""

from pathlib import Path

import pytest

from scripts import write_options


def test_the_table_is_current() -> None:
    current = write_options.PAGE.read_text(encoding="utf-8") == write_options.page()
    assert current, "the options have changed: run `make generate`, and commit"


def test_text_around_the_table_stays(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    page, table = tmp_path / "page.md", write_options.page()
    begin, end = table.index("<!-- begin of"), table.index("<!-- end of")
    page.write_text(
        f"Before.\n{table[begin:].splitlines(keepends=True)[0]}An older table.\n{table[end:].splitlines()[0]}\nAfter.\n"
    )
    monkeypatch.setattr(write_options, "PAGE", page)
    written = write_options.page()
    assert written.startswith("Before.\n<!-- begin of")
    assert written.endswith("<!-- end of the options -->\nAfter.\n")
    assert "older table" not in written
    assert "| `--seed` | whole number, 0 or more (default 0) | Seed of every random choice. |" in written


def test_a_page_without_a_place_for_the_table_is_refused(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (page := tmp_path / "page.md").write_text("Nothing.\n")
    monkeypatch.setattr(write_options, "PAGE", page)
    with pytest.raises(ValueError, match="page.md has no lines '<!-- begin of the options"):
        write_options.page()
