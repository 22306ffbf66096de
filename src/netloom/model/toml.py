"""Settings files: TOML decoded into a frozen struct; each mistake is one line that names file and place."""

from __future__ import annotations

import tomllib
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

import msgspec

from netloom.model.errors import UserError

T = TypeVar("T")


def load(path: Path, kind: type[T], check: Callable[[T], None]) -> T:
    """Read `path`; `check` raises ValueError for what types alone cannot say. Raises UserError."""
    try:
        text = path.read_text(encoding="utf-8")
    except OSError as error:
        raise UserError(f"cannot read the settings file {path}: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise UserError(f"{path} is not UTF-8 text") from error
    try:
        settings = msgspec.convert(tomllib.loads(text), kind)
        check(settings)
    except tomllib.TOMLDecodeError as error:
        raise UserError(f"{path} is not valid TOML: {error}") from error
    except (msgspec.ValidationError, ValueError) as error:
        raise UserError(f"{path}: {_plain(str(error))}") from error
    return settings


def _plain(message: str) -> str:
    """Say a msgspec complaint the way the file is written: `$.server.listen` is `[server] listen`."""
    what, _, where = message.partition(" - at `")
    place = where.rstrip("`").removeprefix("$").strip(".").split(".")
    if "unknown field" in what:
        name = what.rsplit("`", 2)[-2]
        return f"unknown setting {f'[{place[0]}] {name}' if place[0] else f'section [{name}]'}"
    if "missing required field" in what:
        name = what.rsplit("`", 2)[-2]
        return f"{f'[{place[0]}] {name}' if place[0] else f'section [{name}]'} is missing"
    if not place[0]:
        return what
    section = f"[{place[0]}]" + (" " + ".".join(place[1:]) if len(place) > 1 else "")
    return f"{section}: {what[:1].lower()}{what[1:]}"
