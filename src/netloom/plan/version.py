"""Which plan this is: a digest of the sources that a plan depends on.

A host reports the digest and `explain` compares it with the server's own. A number that people raise by hand is
forgotten; a digest is not. It changes with a comment too: then explain says «cannot say» once too often until both
programs are of one version, which is the safe side.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from importlib.resources import files
from importlib.resources.abc import Traversable

_SOURCES = ("netloom.plan", "netloom.model")
"""`plan` imports these two rooms alone (import-linter holds it), so nothing else can alter what it makes."""


def computed() -> str:
    """The first 12 hexadecimal digits of SHA-256 over names and contents of the sources."""
    digest = hashlib.sha256()
    for package in _SOURCES:
        for name, content in sorted(_modules(files(package), package)):
            digest.update(f"{name}:{len(content)}\n".encode())
            digest.update(content)
    return digest.hexdigest()[:12]


def _modules(folder: Traversable, path: str) -> Iterator[tuple[str, bytes]]:
    """Yield path and content of each module of a package and of the packages inside it."""
    for each in folder.iterdir():
        inside = f"{path}/{each.name}"
        if each.name.endswith(".py"):
            yield inside, each.read_bytes()
        elif each.is_dir() and each.name != "__pycache__":
            yield from _modules(each, inside)
