"""The examples of README.md and docs/*.md: fenced blocks, in the order in which a reader meets them.

A block in `bash`, `console` or `python` is run. What it prints may stand in a block `text` right after it; a
`console` block shows it itself, after each `$ command`. `…` stands for anything. A comment before a block says
what is special about it:

    <!-- not run: WHY -->               it cannot run in CI
    <!-- in a terminal of its own -->   it goes on until the end of the page
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
# What is shown, and is no command.
SHOWN = frozenset({"text", "json", "yaml", "mermaid"})
_NOT_RUN = re.compile(r"<!-- not run: (\S.*?) -->\s*", re.DOTALL)
_OWN_TERMINAL = re.compile(r"<!-- in a terminal of its own -->\s*")


@dataclass(frozen=True, slots=True)
class Block:
    """One fenced block, what it prints if the page shows it, and why it is not run, if it is not."""

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
    """One command of a `console` block, and what it prints."""

    text: str
    printed: str


def blocks_of(page: Path) -> list[Block]:
    """All blocks of a page."""
    return list(_blocks(page, _tokens(page)))


def indented_code(page: Path) -> list[str]:
    """Code that no fence says the language of, which would be neither run nor counted."""
    return [token.content for token in _tokens(page) if token.type == "code_block"]


def commands_of(block: Block) -> list[Command]:
    """The commands of a `console` block."""
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
