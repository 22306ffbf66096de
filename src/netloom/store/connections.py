"""Connections of the driver: made by SQLAlchemy's engine, kept open, each given to one transaction at a time.

SQLAlchemy's own pool costs 60 µs of CPU a transaction and gives the connections in turn. Here the connection that was
used last is given first: it holds prepared statements and pages that are still good. The writer has connections of
its own: as long as no other process writes, the pages in its cache stay good from one transaction to the next.
"""

from __future__ import annotations

import os
import sqlite3
import time
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Any, Generic, TypeVar

from sqlalchemy import Connection, Engine, create_engine, event
from sqlalchemy.engine import make_url
from sqlalchemy.engine.interfaces import DBAPIConnection
from sqlalchemy.exc import ArgumentError, DatabaseError, IntegrityError, ProgrammingError
from sqlalchemy.pool import NullPool

from netloom.model.errors import UserError
from netloom.store.liveness import Liveness
from netloom.store.session import Session, UnreadableText

T = TypeVar("T")

BUSY_SECONDS = 10.0
"""How long a writer waits for one in another process (a running upgrade, a command)."""

MAPPED_BYTES = 256 * 1024**2
"""How much of the file is read through the kernel's own cache, which all connections share, and not copied into each."""

KEPT = 8
"""Connections that stay open while nobody uses them."""


class Connections:
    """Connections to one database. Any thread may take one."""

    def __init__(self, engine: Engine, liveness: Liveness) -> None:
        self.engine = engine
        self.file = engine.url.database or ""
        self.liveness = liveness
        self._idle: list[DBAPIConnection] = []
        self._closed = False

    def take(self) -> DBAPIConnection:
        """Return a connection on which no transaction is open. Raises what the driver raises."""
        try:
            # One step for the interpreter: two threads never get the same.
            return self._idle.pop()
        except IndexError:
            made = self.engine.raw_connection()
            made.detach()
            connection = made.dbapi_connection
            assert connection is not None, "it was just made"
            return connection

    def give_back(self, connection: DBAPIConnection) -> None:
        """Undo what was not committed on it and keep it for the next."""
        try:
            connection.rollback()
        except sqlite3.Error:
            # The next takes another one.
            connection.close()
            return
        if self._closed or len(self._idle) >= KEPT:
            connection.close()
        else:
            self._idle.append(connection)

    def close(self) -> None:
        """Close those that nobody uses, and the others when they are given back."""
        self._closed = True
        while self._idle:
            self._idle.pop().close()


class Begun(Generic[T]):
    """A context manager: a transaction on a connection of its own, rolled back at the end unless it was committed.

    It gives what `make` makes of the transaction. Raises UserError where the file cannot be opened, is damaged, or has
    no tables of ours.
    """

    __slots__ = ("_begin", "_connection", "_connections", "_make")

    def __init__(self, connections: Connections, begin: str, make: Callable[[Session], T]) -> None:
        self._connections = connections
        self._begin = begin
        self._make = make
        self._connection: DBAPIConnection | None = None

    def __enter__(self) -> T:
        connections = self._connections
        must_be_there(connections.file)
        try:
            connection = self._connection = connections.take()
            connection.cursor().execute(self._begin)
            return self._make(Session(connection, connections.engine.dialect, connections.liveness))
        except BaseException as error:
            self._end()
            _raise_plainly(connections.file, error)
            raise

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._end()
        if error is not None:
            _raise_plainly(self._connections.file, error)

    def _end(self) -> None:
        if self._connection is not None:
            self._connections.give_back(self._connection)
            self._connection = None


class Plainly:
    """A context manager that raises UserError where the file cannot be opened or has no tables of ours."""

    def __init__(self, engine: Engine) -> None:
        self._file = engine.url.database or ""

    def __enter__(self) -> None:
        must_be_there(self._file)

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if error is not None:
            _raise_plainly(self._file, error)


def open_engine(url: str, *, writing: bool = False, migrating: bool = False) -> Engine:
    """Make an engine whose transactions are begun by us, in words of our choice, and by nobody else.

    Raises UserError for a URL that is not supported.
    """
    try:
        parsed = make_url(url)
    except ArgumentError as error:
        raise UserError(f"{url!r} is no database URL; write sqlite:////path/to/file.db") from error
    if parsed.get_backend_name() != "sqlite" or parsed.database in (None, "", ":memory:"):
        raise UserError(
            f"{parsed.render_as_string()}: only sqlite:////path/to/file.db is supported so far"
        )
    if not Path(parsed.database or "").parent.is_dir():
        raise UserError(
            f"{Path(parsed.database or '').parent}: there is no such folder for the database"
        )
    engine = create_engine(
        parsed,
        # `Connections` keeps what stays open.
        poolclass=NullPool,
        connect_args={"check_same_thread": False, "timeout": BUSY_SECONDS},
        # Statements name their values, so that a Session can hand them on as they are.
        paramstyle="named",
    )

    def connected(dbapi_connection: Any, _record: Any) -> None:
        # sqlite3 would begin transactions by itself, deferred and too late; None leaves it to us.
        dbapi_connection.isolation_level = None
        _use_wal(dbapi_connection)
        dbapi_connection.execute("PRAGMA synchronous=FULL")
        dbapi_connection.execute(f"PRAGMA mmap_size={MAPPED_BYTES}")
        dbapi_connection.execute(f"PRAGMA foreign_keys={'OFF' if migrating else 'ON'}")
        if writing:
            # What a savepoint may have to undo: kept in a file, it costs half as much again as the commit does.
            dbapi_connection.execute("PRAGMA temp_store=MEMORY")

    def begun(connection: Connection) -> None:
        # Only migrations and the look at the version go through SQLAlchemy's own connections.
        connection.exec_driver_sql("BEGIN IMMEDIATE" if migrating else "BEGIN")

    event.listen(engine, "connect", connected)
    event.listen(engine, "begin", begun)
    return engine


def _use_wal(connection: sqlite3.Connection) -> None:
    """Switch the file to its write-ahead log, also while others do it.

    SQLite says that it is locked at once, and does not wait, where two would wait for each other.
    """
    until = time.monotonic() + BUSY_SECONDS
    while True:
        try:
            connection.execute("PRAGMA journal_mode=WAL")
            return
        except sqlite3.OperationalError as error:
            if "locked" not in str(error) or time.monotonic() > until:
                raise
            time.sleep(0.01)


def must_be_there(file: str) -> None:
    """Raise UserError where there is no such file: SQLite would make it, for others to read."""
    if not os.path.exists(file):  # noqa: PTH110 (each transaction asks: pathlib costs ten times as much)
        raise UserError(
            f"there is no database {file}: `netloom db upgrade`, or the server's first start, makes it"
        )


def _raise_plainly(file: str, error: BaseException) -> None:
    """Raise UserError instead of an error of the database that the operator can mend; do nothing for others."""
    if isinstance(error, DatabaseError):
        problem = _said(error, str(error.orig))
    elif isinstance(error, sqlite3.DatabaseError):
        problem = _said(error, str(error))
    elif isinstance(error, UnicodeDecodeError | UnreadableText):
        problem = _DAMAGED
    else:
        return
    if problem is not None:
        raise UserError(f"{file}: {problem}") from error


def _said(error: Exception, words: str) -> str | None:
    """What is wrong with the database, as the operator can mend it; None where a statement of ours is wrong."""
    ours = (IntegrityError, ProgrammingError, sqlite3.IntegrityError, sqlite3.ProgrammingError)
    message = " ".join(words.split())
    problem = _problem(message)
    if isinstance(error, ours) or (not problem and "syntax error" in message):
        return None
    return problem or f"SQLite cannot go on: {ascii(message[:200])[1:-1]}"


_DAMAGED = "this is no database of netloom's, or it is damaged; restore it from a backup"


def _problem(message: str) -> str:
    """Say what a user can do about an error of SQLite; empty where it is not theirs to mend."""
    if "no such table" in message or "no such column" in message:
        return "the database is not upgraded; run netloom db upgrade"
    if "unable to open" in message or "readonly" in message:
        return "the database cannot be opened; check the folder and its permissions"
    if "database is locked" in message:
        return f"another process has been writing for more than {BUSY_SECONDS:.0f} s; stop it"
    if any(words in message for words in ("not a database", "malformed", "Could not decode")):
        return _DAMAGED
    if "disk" in message and "full" in message:
        return "the disk is full"
    return ""
