"""The table of errors in docs/api.md, held against the code of the service."""

import ast
import re
from collections.abc import Iterator
from http import HTTPStatus

from tests.conftest import ROOT

# Of the pages alone.
NOT_OF_THE_API = {"unknown-asset"}
CELL = re.compile(r"^\| ([\d, ]+) \| (.*) \| .* \|$")
SLUG = re.compile(r"`([a-z0-9-]+)`")


def documented() -> dict[str, set[int]]:
    """The statuses of the table, by the types that stand beside them; `;` parts the types of several statuses."""
    found: dict[str, set[int]] = {}
    for line in (ROOT / "docs" / "api.md").read_text().splitlines():
        row = CELL.match(line)
        if row is None:
            continue
        statuses, groups = [int(status) for status in row[1].split(", ")], row[2].split("; ")
        assert len(statuses) == len(groups), line
        for status, group in zip(statuses, groups, strict=True):
            for slug in SLUG.findall(group):
                found.setdefault(slug, set()).add(status)
    return found


def raised() -> Iterator[tuple[int, str]]:
    """The statuses and types of all problems whose type is written down in the code."""
    for path in sorted((ROOT / "app").rglob("*.py")):
        for call in [node for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.Call)]:
            first, second = [*map(ast.unparse, call.args), "", ""][:2]
            match ast.unparse(call.func):
                case "Problem" if first.startswith("HTTPStatus.") and second.startswith("'"):
                    yield HTTPStatus[first.removeprefix("HTTPStatus.")], ast.literal_eval(second)
                case "Problem.at" | "Unavailable" if second.startswith("'"):
                    yield 422, ast.literal_eval(second)
                case "Problem.of_validation" | "Problem._of_fields":
                    yield 422, ast.literal_eval(first)


def test_every_type_of_an_error_is_in_the_table_with_its_status() -> None:
    table, found = documented(), set(raised())
    assert len(found) > 50
    missing = [(status, slug) for status, slug in sorted(found) if status not in table.get(slug, set())]
    assert [(status, slug) for status, slug in missing if slug not in NOT_OF_THE_API] == []
