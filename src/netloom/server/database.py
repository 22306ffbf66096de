"""The database of the server: opened, held against a second server, and the first passwords beside it."""

from __future__ import annotations

import fcntl
import secrets
from pathlib import Path
from typing import IO

import msgspec

from netloom.model.errors import UserError
from netloom.model.files import write_whole
from netloom.model.server_settings import ServerSettings
from netloom.store import Store, migrate

PASSWORDS = "first-passwords.json"
"""In the state folder, mode 0600: the passwords that admin and demo got at the first start."""


def open_database(settings: ServerSettings) -> Store:
    """Open the database; a new one is made, an old one is never upgraded behind the operator's back."""
    state_dir = Path(settings.state_dir)
    try:
        state_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(f"cannot make the state folder {state_dir}: {error.strerror}") from error
    store = Store.open(settings.database_url)
    version = store.version()
    if not version:
        store.upgrade()
    elif migrate.is_newer(version):
        raise UserError(
            f"the database is at version {version}, which this netloom does not know: it was written by a newer one; "
            "use that"
        )
    elif version != migrate.head():
        raise UserError(
            f"the database is at version {version}, this netloom needs {migrate.head()}: "
            "run `netloom db upgrade` (back it up first)"
        )
    else:
        store.check()
    return store


def hold(database: Path) -> IO[bytes]:
    """Hold the database against a second server for as long as the returned file is open.

    Changes of another process would reach this one's hosts late, and both would schedule.
    """
    path = database.with_name(f"{database.name}.lock")
    try:
        held = path.open("ab")
    except OSError as error:
        raise UserError(f"cannot make {path}: {error.strerror}") from error
    try:
        fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        held.close()
        raise UserError(f"another server uses the database {database}: stop that first") from error
    return held


def first_passwords(path: Path) -> tuple[str, str]:
    """Return the passwords of admin and demo in a new cloud: those in the file, made where it is missing.

    They hold for users that are made now; a password changed later stands, whatever the file says.
    """
    try:
        if not path.exists():
            made = {"admin": secrets.token_urlsafe(18), "demo": secrets.token_urlsafe(18)}
            write_whole(path, msgspec.json.encode(made) + b"\n")
        first = msgspec.json.decode(path.read_bytes(), type=dict[str, str])
        return first["admin"], first["demo"]
    except OSError as error:
        raise UserError(f"cannot read or make {path}: {error.strerror}") from error
    except (KeyError, msgspec.MsgspecError) as error:
        raise UserError(
            f"{path} must hold the passwords of admin and demo as JSON: {error}"
        ) from error
