"""Pages name files: each one that is named must be there."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PAGES = [*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md")]
NAMED = re.compile(r"`((?:[\w.-]+/)+[\w-]+\.(?:py|toml|md|sh|json))(?:::\w+)?`")
NOT_OURS = ("state/", ".state/", "STATE_DIR/")
"""Folders of a running server, lab or agent."""

LINKED = re.compile(r"\]\(([\w./-]+\.md)(?:#[\w-]+)?\)")


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_files_that_a_page_names_exist(page: Path) -> None:
    text = page.read_text()
    above = [ROOT, ROOT / "src/netloom", ROOT / "tests", page.parent]
    if page.parent.name == "rooms":
        above.append(ROOT / "src/netloom" / page.stem)
    missing = {
        name
        for name in NAMED.findall(text)
        if not name.startswith(NOT_OURS) and not any((folder / name).exists() for folder in above)
    }
    missing |= {name for name in LINKED.findall(text) if not (page.parent / name).exists()}
    assert missing == set()


def test_each_room_has_a_page() -> None:
    folders = {each.parent.name for each in (ROOT / "src/netloom").glob("*/__init__.py")}
    together = {"support": "bench"}
    pages = {page.stem for page in (ROOT / "docs/rooms").glob("*.md")}
    assert {together.get(name, name) for name in folders} == pages
