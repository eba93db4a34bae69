"""The examples of README.md and docs/*.md: fenced blocks, in the order of the page.

A block in `bash`, `console` or `python` is run. Its output may follow in a block `text` right after it; a `console`
block contains the output itself, after each `$ command`. `…` matches anything. A comment before a block marks special
cases:

    <!-- not run: WHY -->               it cannot run in CI
    <!-- in a terminal of its own -->   it runs until the end of the page
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from markdown_it import MarkdownIt
from markdown_it.token import Token

from tests.conftest import ROOT

PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
RUNNABLE = frozenset({"bash", "console", "python"})
# Languages of blocks that are shown but not run.
SHOWN = frozenset({"text", "json", "yaml", "mermaid"})
_NOT_RUN = re.compile(r"<!-- not run: (\S.*?) -->\s*", re.DOTALL)
_OWN_TERMINAL = re.compile(r"<!-- in a terminal of its own -->\s*")


@dataclass(frozen=True, slots=True)
class Block:
    """One fenced block, its output if the page shows it, and the reason if it is not run."""

    page: Path
    line: int
    language: str
    text: str
    printed: str | None = None
    not_run: str | None = None
    own_terminal: bool = False

    def __str__(self) -> str:
        return f"{self.page.relative_to(ROOT)}:{self.line}"


@dataclass(frozen=True, slots=True)
class Command:
    """One command of a `console` block, and its output."""

    text: str
    printed: str


def blocks_of(page: Path) -> list[Block]:
    """Return all blocks of a page."""
    return list(_blocks(page, _tokens(page)))


def indented_code(page: Path) -> list[str]:
    """Return code without a fence and a language, which would be neither run nor counted."""
    return [token.content for token in _tokens(page) if token.type == "code_block"]


def commands_of(block: Block) -> list[Command]:
    """Return the commands of a `console` block."""
    commands: list[Command] = []
    for line in block.text.splitlines(keepends=True):
        if line.startswith("$ "):
            commands.append(Command(line[2:], ""))
        elif line.startswith("> ") and commands and not commands[-1].printed:
            commands[-1] = Command(commands[-1].text + line[2:], "")
        elif commands:
            commands[-1] = Command(commands[-1].text, commands[-1].printed + line)
        else:
            raise ValueError(f"{block}: a console block begins with `$ ` and a command")
    return commands


def _tokens(page: Path) -> list[Token]:
    return MarkdownIt("commonmark").parse(page.read_text(encoding="utf-8"))


def _blocks(page: Path, tokens: list[Token]) -> Iterator[Block]:
    for before, token, after in zip([None, *tokens], tokens, [*tokens[1:], None], strict=False):
        if token.type != "fence":
            continue
        assert token.map is not None
        comment = before.content if before is not None and before.type == "html_block" else ""
        not_run = _NOT_RUN.fullmatch(comment)
        language = token.info.strip()
        prints = language in RUNNABLE and after is not None and after.type == "fence" and after.info.strip() == "text"
        yield Block(
            page=page,
            line=token.map[0] + 1,
            language=language,
            text=token.content,
            printed=after.content if prints and after is not None else None,
            not_run=None if not_run is None else not_run[1],
            own_terminal=_OWN_TERMINAL.fullmatch(comment) is not None,
        )
