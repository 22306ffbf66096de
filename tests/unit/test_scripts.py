"""Scripts that tests give to an interpreter in another namespace name modules that exist.

Without root nobody runs them, so a module that moves would leave them behind.
"""

from __future__ import annotations

import ast
import importlib
import re
from pathlib import Path

import pytest

TESTS = Path(__file__).parents[1]
IMPORT = re.compile(r"\bfrom (netloom(?:\.\w+)*) import (\w+(?:, \w+)*)")


def imports() -> list[tuple[str, str, str]]:
    """Test file, module and name of every import of Netloom's that stands in a text."""
    found: set[tuple[str, str, str]] = set()
    for file in TESTS.rglob("*.py"):
        texts = [
            node.value
            for node in ast.walk(ast.parse(file.read_text()))
            if isinstance(node, ast.Constant) and isinstance(node.value, str)
        ]
        for module, names in IMPORT.findall("\n".join(texts)):
            found |= {(str(file.relative_to(TESTS)), module, name) for name in names.split(", ")}
    return sorted(found)


@pytest.mark.parametrize(("file", "module", "name"), imports())
def test_what_a_script_imports_is_there(file: str, module: str, name: str) -> None:
    if not hasattr(importlib.import_module(module), name):
        importlib.import_module(f"{module}.{name}")
