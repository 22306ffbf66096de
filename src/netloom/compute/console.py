"""The tail of an instance's console, as its host last sent it: a file beside the database, not a document."""

from __future__ import annotations

import contextlib
from pathlib import Path

from netloom.model.files import write_whole

MAX_BYTES = 100 * 1024
"""The most that is kept of one console."""


def path(state_dir: Path, server_id: str) -> Path:
    """Where the console of this server lies."""
    return state_dir / "consoles" / f"{server_id}.log"


def write(state_dir: Path, server_id: str, text: bytes) -> None:
    """Replace the console; only its last MAX_BYTES are kept. A reader never sees half of one."""
    target = path(state_dir, server_id)
    target.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    write_whole(target, text[-MAX_BYTES:])


def read(state_dir: Path, server_id: str, lines: int | None = None) -> str:
    """Return the console, or its last `lines`; empty where the host sent none yet."""
    try:
        text = path(state_dir, server_id).read_bytes().decode("utf-8", "replace")
    except FileNotFoundError:
        return ""
    if lines is None:
        return text
    return "".join(text.splitlines(keepends=True)[-lines:]) if lines > 0 else ""


def forget(state_dir: Path, server_id: str) -> None:
    """Remove it, the server being gone."""
    with contextlib.suppress(FileNotFoundError):
        path(state_dir, server_id).unlink()
