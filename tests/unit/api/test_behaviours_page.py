"""docs/behaviours.md leaves no number out, and the tests that it names are there."""

from __future__ import annotations

import re
from pathlib import Path

REPOSITORY = Path(__file__).parents[3]
PAGE = (REPOSITORY / "docs/behaviours.md").read_text()


def test_every_number_is_there():
    found: set[int] = set()
    for row in re.findall(r"^\| (\d[\d–, ]*) \|", PAGE, re.MULTILINE):
        for part in row.split(","):
            first, _, last = part.strip().partition("–")
            found |= set(range(int(first), int(last or first) + 1))
    assert found == set(range(1, 177))


def test_every_test_that_it_names_is_there():
    defined = "\n".join(
        name
        for file in (REPOSITORY / "tests").rglob("test_*.py")
        for name in re.findall(r"def (test_\w+)", file.read_text())
    )
    for name, rest in re.findall(r"`(test_\w+)(…?)`", PAGE):
        assert re.search(f"^{name}{'' if rest else '$'}", defined, re.MULTILINE), name


def test_every_file_that_it_names_is_there():
    folders = {
        "api": "tests/api",
        "net": "tests/unit/network",
        "plan": "tests/unit/plan",
        "lab": "tests/lab",
    }
    for table_row in re.findall(r"^\|.*\|$", PAGE, re.MULTILINE):
        proof = table_row.split("|")[3]
        for folder, name in re.findall(r"\b(api|net|plan|lab)/(\w+)", proof):
            assert (REPOSITORY / folders[folder] / f"test_{name}.py").is_file(), (folder, name)
        for name in re.findall(r"\b(?:unit|tests)/[\w/]+\.py", proof):
            assert (REPOSITORY / "tests" / name.removeprefix("tests/")).is_file(), name
