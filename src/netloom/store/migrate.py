"""Creating and upgrading a database through Alembic."""

from __future__ import annotations

from pathlib import Path

from alembic import command
from alembic.config import Config
from alembic.script import ScriptDirectory
from alembic.util import CommandError
from sqlalchemy import Connection, inspect, text

from netloom.model.errors import UserError

SCRIPTS = Path(__file__).parent / "migrations"


def config(connection: Connection | None = None) -> Config:
    """Alembic's configuration, without a file."""
    made = Config()
    made.set_main_option("script_location", str(SCRIPTS).replace("%", "%%"))
    made.attributes["connection"] = connection
    return made


def head() -> str:
    """Version of the database that this program works with."""
    return ScriptDirectory.from_config(config()).get_current_head() or ""


def version(connection: Connection) -> str:
    """Version of the database; empty for a new file."""
    if not inspect(connection).has_table("alembic_version"):
        return ""
    return connection.execute(text("SELECT version_num FROM alembic_version")).scalar() or ""


def is_newer(version: str) -> bool:
    """Whether a newer Netloom wrote a database of this version: they are numbered, with four digits."""
    return version > head()


def upgrade(connection: Connection) -> None:
    """Bring the database to the newest version, in the connection's transaction.

    Raises UserError where a newer Netloom has written it.
    """
    try:
        command.upgrade(config(connection), "head")
    except CommandError as error:
        raise UserError(
            f"the database is at version {version(connection)}, which this netloom does not know: "
            "it was written by a newer one; use that"
        ) from error
