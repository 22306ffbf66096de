"""Writing files that others read at any moment, secrets among them."""

from __future__ import annotations

import contextlib
import os
import tempfile
from pathlib import Path


def write_whole(path: Path, content: bytes, mode: int = 0o600) -> None:
    """Write a file whole or not at all, for its owner only unless `mode` says else. Raises OSError."""
    descriptor, aside = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(descriptor, "wb") as file:
            os.fchmod(descriptor, mode)
            file.write(content)
        Path(aside).replace(path)
    except BaseException:
        # Of a full disk too nothing may stay: it is tried again and again.
        with contextlib.suppress(OSError):
            Path(aside).unlink()
        raise
