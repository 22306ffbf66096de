"""Which plan this is: a digest of the sources that a plan depends on.

A host reports the digest and `explain` compares it with the server's own. A number that people raise by hand is
forgotten; a digest is not. It changes with a comment too: then explain says «cannot say» once too often until both
programs are of one version, which is the safe side.
"""

from __future__ import annotations

import hashlib
from importlib.resources import files

_SOURCES = ("netloom.plan", "netloom.model")
"""`plan` imports these two rooms alone (import-linter holds it), so nothing else can alter what it makes."""


def computed() -> str:
    """The first 12 hexadecimal digits of SHA-256 over names and contents of the sources."""
    digest = hashlib.sha256()
    for package in _SOURCES:
        modules = [each for each in files(package).iterdir() if each.name.endswith(".py")]
        for module in sorted(modules, key=lambda each: each.name):
            content = module.read_bytes()
            digest.update(f"{package}/{module.name}:{len(content)}\n".encode())
            digest.update(content)
    return digest.hexdigest()[:12]
