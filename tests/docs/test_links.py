import re
from pathlib import Path

from markdown_it import MarkdownIt

from tests.conftest import ROOT
from tests.docs.blocks import PAGES


def test_every_link_within_the_repository_leads_somewhere() -> None:
    broken = []
    for page in [*PAGES, *sorted((ROOT / "docs" / "decisions").glob("*.md"))]:
        for target in links_of(page):
            path, _, anchor = target.partition("#")
            file = (page.parent / path) if path else page
            if not file.exists() or (anchor and anchor not in anchors_of(file)):
                broken.append(f"{page.relative_to(ROOT)}: {target}")
    assert broken == []


def test_the_index_lists_every_page() -> None:
    listed = {target for target in links_of(ROOT / "docs" / "README.md") if "/" not in target}
    assert {page.name for page in PAGES if page.parent.name == "docs"} - {"README.md"} <= listed


def links_of(page: Path) -> list[str]:
    """Return the targets of links and pictures, except web addresses."""
    found = []
    for token in MarkdownIt("commonmark").enable("table").parse(page.read_text(encoding="utf-8")):
        for part in token.children or ():
            target = part.attrs.get("href") or part.attrs.get("src")
            if target is not None and "://" not in str(target):
                found.append(str(target))
    return found


def anchors_of(page: Path) -> set[str]:
    """Return the anchors of headings, as GitHub derives them."""
    headings = re.findall(r"^#+ (.+)$", page.read_text(encoding="utf-8"), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}
