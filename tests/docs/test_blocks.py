from collections import Counter
from pathlib import Path

import pytest

from tests.conftest import ROOT
from tests.docs.blocks import PAGES, RUNNABLE, SHOWN, Block, Command, blocks_of, commands_of, indented_code
from tests.docs.reader import is_what_is_shown

# Number of blocks per page that cannot run in CI. Add each newly marked block here.
NOT_RUN = {
    "README.md": 1,
    "docs/huggingface.md": 1,
    "docs/kubernetes.md": 2,
    "docs/mlflow.md": 1,
    "docs/operations.md": 4,
    "docs/quick-start.md": 2,
    "docs/storage.md": 1,
}


def test_every_block_is_run_or_shown_or_says_why_it_is_not_run() -> None:
    languages = RUNNABLE | SHOWN
    assert [f"{block}: {block.language!r}" for block in all_blocks() if block.language not in languages] == []
    assert {str(page): code for page in PAGES if (code := indented_code(page))} == {}


def test_the_blocks_that_are_not_run_are_counted() -> None:
    marked = Counter(str(block.page.relative_to(ROOT)) for block in all_blocks() if block.not_run is not None)
    assert dict(marked) == NOT_RUN


def test_only_what_would_be_run_is_marked() -> None:
    marked = [block for block in all_blocks() if block.not_run is not None or block.own_terminal]
    assert [str(block) for block in marked if block.language not in RUNNABLE] == []


def test_a_marker_belongs_to_the_block_right_after_it(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text(
        "<!-- not run: needs Docker -->\n```bash\none\n```\n\n```bash\ntwo\n```\n\n"
        "<!-- in a terminal of its own -->\n```bash\nthree\n```\n\n"
        "<!-- not run: needs Docker -->\n\nWords.\n\n```bash\nfour\n```\n"
    )
    found = [(block.text.strip(), block.not_run, block.own_terminal) for block in blocks_of(page)]
    assert found == [("one", "needs Docker", False), ("two", None, False), ("three", None, True), ("four", None, False)]


def test_text_right_after_a_block_is_what_it_prints(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text(
        "```python\nprint(1)\n```\n\n```text\n1\n```\n\n```bash\necho 2\n```\n\nIt prints:\n\n```text\n2\n```\n"
    )
    assert [block.printed for block in blocks_of(page)] == ["1\n", None, None, None]


def test_a_console_block_is_commands_and_what_each_prints() -> None:
    block = Block(Path("page.md"), 1, "console", "$ echo a \\\n>   b\na b\n$ true\n$ echo c\nc\n…\n")
    assert commands_of(block) == [
        Command("echo a \\\n  b\n", "a b\n"),
        Command("true\n", ""),
        Command("echo c\n", "c\n…\n"),
    ]


@pytest.mark.parametrize(
    ("shown", "printed", "same"),
    [
        ("a\n", "a\n", True),
        ("a", "a  \n", True),
        ("a", "b", False),
        ("a", "a\nb", False),
        ("", "", True),
        ("", "a", False),
        ("job_…", "job_0123", True),
        ("a\n…\nz", "a\nb\nc\nz\n", True),
        ("3.5 (x)", "345 (x)", False),
    ],
)
def test_what_is_printed_is_compared_but_for_dots(shown: str, printed: str, same: bool) -> None:
    assert is_what_is_shown(shown, printed) is same


def all_blocks() -> list[Block]:
    return [block for page in PAGES for block in blocks_of(page)]
