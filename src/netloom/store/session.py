"""One transaction on a connection of the driver, and statements that are compiled once.

SQLAlchemy Core writes the statements and pools the connections. It does not execute them: its way to the driver costs
65 µs of CPU a statement on the machine where this was measured, the driver itself 9 µs, and a request has some twenty.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Generator, Iterable, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

from msgspec import Struct
from sqlalchemy import ClauseElement, Dialect
from sqlalchemy.engine.interfaces import DBAPIConnection
from sqlalchemy.sql.compiler import SQLCompiler

from netloom.store.liveness import Liveness

Values = Mapping[str, Any]


class Statement:
    """A Core statement, and its text for each dialect once that has been asked for.

    `columns`: those that an INSERT without values of its own gets.
    """

    def __init__(self, core: ClauseElement, columns: Sequence[str] | None = None) -> None:
        self.core = core
        self._columns = None if columns is None else list(columns)
        self._compiled: dict[str, tuple[str, dict[str, Any]]] = {}

    def on(self, dialect: Dialect) -> tuple[str, dict[str, Any]]:
        """The text as the dialect's driver reads it, and the values that stand in the statement itself."""
        found = self._compiled.get(dialect.name)
        if found is None:
            compiled = self.core.compile(dialect=dialect, column_keys=self._columns)
            assert isinstance(compiled, SQLCompiler)
            own = {name: value for name, value in compiled.params.items() if value is not None}
            found = self._compiled[dialect.name] = (str(compiled), own)
        return found


class UnreadableText(ValueError):
    """A text of a row is not UTF-8: that row is damaged, not the file."""


def _of_text(error: sqlite3.OperationalError) -> Exception:
    return UnreadableText(str(error)) if "Could not decode" in str(error) else error


class Memory(Struct):
    """What one transaction has read or written, as it stands in this transaction: it need not be read again.

    `objects`: (kind, id) → the object and its status, or None where it is not there. `accessible`: (project, action)
    → ids. `tallies`: (kind, project) → number of objects.
    """

    objects: dict[tuple[str, str], tuple[Any, str] | None] = {}
    accessible: dict[tuple[str, str], set[str]] = {}
    tallies: dict[tuple[str, str], int] = {}


class Session:
    """What is read and written through it is one transaction; `Store` begins and ends it.

    `liveness`: what hosts said and no transaction has written yet. `seq`: of the newest change, for a writer that has
    asked. `changed`: what was done with objects, as (kind, operation).
    """

    def __init__(
        self, connection: DBAPIConnection, dialect: Dialect, liveness: Liveness | None = None
    ) -> None:
        self.connection = connection
        self.dialect = dialect
        self.liveness = liveness or Liveness()
        self.memory = Memory()
        self.seq: int | None = None
        self.changed: set[tuple[str, str]] = set()
        self._savepoints = 0

    def rows(self, statement: Statement, values: Values | None = None) -> list[Any]:
        """All rows, each a tuple. Raises UnreadableText."""
        cursor = self.connection.cursor()
        try:
            cursor.execute(*self._ready(statement, values))
            return list(cursor.fetchall())
        except sqlite3.OperationalError as error:
            raise _of_text(error) from error

    def column(self, statement: Statement, values: Values | None = None) -> list[Any]:
        """The first column of all rows."""
        return [row[0] for row in self.rows(statement, values)]

    def row(self, statement: Statement, values: Values | None = None) -> Any:
        """The first row; None where there is none. Raises UnreadableText."""
        cursor = self.connection.cursor()
        try:
            cursor.execute(*self._ready(statement, values))
            return cursor.fetchone()
        except sqlite3.OperationalError as error:
            raise _of_text(error) from error

    def value(self, statement: Statement, values: Values | None = None) -> Any:
        """The first column of the first row; None where there is no row."""
        row = self.row(statement, values)
        return None if row is None else row[0]

    def run(self, statement: Statement, values: Values | None = None) -> int:
        """Execute a statement that changes something; returns how many rows it touched."""
        cursor = self.connection.cursor()
        cursor.execute(*self._ready(statement, values))
        return cursor.rowcount

    def run_all(self, statement: Statement, values: Iterable[Values]) -> None:
        """Execute a statement once for each of the values."""
        text, own = statement.on(self.dialect)
        self.connection.cursor().executemany(text, [{**own, **each} for each in values])

    def run_text(self, text: str) -> list[Any]:
        """Execute a statement as it is written, without values; returns its rows."""
        cursor = self.connection.cursor()
        cursor.execute(text)
        return list(cursor.fetchall()) if cursor.description else []

    @property
    def lives(self) -> bool:
        """Whether the transaction is still open: a driver may end it by itself where a statement failed."""
        return bool(getattr(self.connection, "in_transaction", True))

    def undo(self) -> None:
        """Undo all that the transaction wrote, and begin it anew."""
        self.connection.rollback()
        self.run_text("BEGIN IMMEDIATE")
        self.memory = Memory()
        self.seq = None

    @contextmanager
    def savepoint(self) -> Generator[None]:
        """Undo what is written inside where an exception leaves it; what came before stays."""
        self._savepoints += 1
        name, seq = f"s{self._savepoints}", self.seq
        self.run_text(f"SAVEPOINT {name}")
        try:
            yield
        except BaseException:
            self.memory, self.seq = Memory(), seq
            if self.lives:
                self.run_text(f"ROLLBACK TO {name}")
                self.run_text(f"RELEASE {name}")
            raise
        else:
            self.run_text(f"RELEASE {name}")
        finally:
            self._savepoints -= 1

    def _ready(self, statement: Statement, values: Values | None) -> tuple[str, Values]:
        text, own = statement.on(self.dialect)
        return text, ({**own, **values} if own and values else values or own)
