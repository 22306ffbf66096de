"""The store: opening it, the one writer, snapshots for readers, waiting for changes."""

from __future__ import annotations

import os
import sqlite3
import threading
import time
import uuid
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, Engine, create_engine, event, text
from sqlalchemy.engine import make_url
from sqlalchemy.exc import ArgumentError, DatabaseError, IntegrityError, ProgrammingError
from sqlalchemy.pool import NullPool

from netloom.model.errors import UserError
from netloom.store import migrate
from netloom.store.credentials import Credentials
from netloom.store.liveness import WANTED_AS_OF, Liveness
from netloom.store.reader import Reader
from netloom.store.session import Session, UnreadableText
from netloom.store.writer import Writer

BUSY_SECONDS = 10.0
"""How long a writer waits for one in another process (a running upgrade, a command)."""

MAPPED_BYTES = 256 * 1024**2
"""How much of the file is read through the kernel's own cache, which all connections share, and not copied into each."""

KEPT_CHANGES = 100_000
"""How many changes stay in the feed, as history and for hosts that were away."""

_EPOCH = text("SELECT value FROM setting WHERE key = 'epoch'")

PRUNE_EVERY = 1_000
"""After how many changes older ones are dropped: often enough that it takes a few ms."""


class Store:
    """One database. Threads share it; each takes a reader or the writer for as long as it needs."""

    def __init__(self, url: str, engine: Engine, kept_changes: int = KEPT_CHANGES):
        self.url = url
        self._kept_changes = kept_changes
        self._engine = engine
        self._lock = threading.Lock()
        self._writing: int | None = None
        self._committed = threading.Condition()
        self._seq = 0
        self._closed = False
        self.liveness = Liveness()
        self.credentials = Credentials(engine, self.reader, self.liveness)

    @classmethod
    def open(cls, url: str, kept_changes: int = KEPT_CHANGES) -> Store:
        """Open `sqlite:////path/file.db`; the file is made by `upgrade`. Raises UserError for other URLs.

        `kept_changes`: how much of the feed stays when it grows (a writer prunes it now and then).
        """
        return cls(url, _engine(url), kept_changes)

    def upgrade(self) -> None:
        """Bring the database (a new file included) to this program's version. Raises UserError.

        Other writers wait; a crash half-way leaves the database as it was.
        """
        # Steps rebuild tables, as SQLite must: meanwhile foreign keys cannot be enforced, so an engine of its own.
        engine = _engine(self.url, migrating=True)
        file = Path(engine.url.database or "")
        try:
            # Password hashes lie in it; SQLite gives its other files the same mode.
            file.touch(mode=0o600)
        except OSError as error:
            raise UserError(f"cannot make the database {file}: {error.strerror}") from error
        try:
            with _migrating(engine) as connection:
                if migrate.version(connection) != migrate.head():
                    migrate.upgrade(connection)
                if broken := connection.execute(text("PRAGMA foreign_key_check")).all():
                    raise UserError(
                        f"the database's references are broken, nothing was changed: {broken[:3]}"
                    )
                if not connection.execute(_EPOCH).all():
                    values = {"value": str(uuid.uuid4())}
                    connection.execute(text("INSERT INTO setting VALUES ('epoch', :value)"), values)
                connection.commit()
        finally:
            engine.dispose()

    @property
    def file(self) -> Path:
        """Where SQLite keeps it."""
        return Path(self._engine.url.database or "")

    def version(self) -> str:
        """Version of the database's tables; empty where there are none."""
        if not self.file.exists():
            return ""
        with _migrating(self._engine) as connection:
            return migrate.version(connection)

    def check(self) -> None:
        """Raise UserError where pages of the file are damaged: writing on would damage more.

        Takes about a second for 200 MB: for the server's start.
        """
        with self._begin("BEGIN") as session:
            found = str(session.run_text("PRAGMA quick_check(1)")[0][0])
        # The pages of all tables are looked at first. SQLite 3.40 finds NULLs that are not there in tables without row
        # ids whose key is not their first columns: rows are checked where they are read.
        if found != "ok" and not found.startswith("NULL value in "):
            why = ascii(" ".join(found.split())[:200])[1:-1]
            raise UserError(f"{self.file} is damaged ({why}): restore it from a backup")

    @property
    def epoch(self) -> str:
        """Identity of this database's feed: a seq means nothing in another one."""
        with self.reader() as reader:
            return reader.setting("epoch") or ""

    @contextmanager
    def reader(self) -> Generator[Reader]:
        """Give a snapshot: all that is read through it is of one moment, whatever is written meanwhile."""
        with self._begin("BEGIN") as session:
            yield Reader(session)

    @contextmanager
    def writer(self, actor: str = "", request_id: str = "") -> Generator[Writer]:
        """Take the one lock. Leaving the block commits, durably; an exception rolls all of it back."""
        with self.transaction() as session:
            yield Writer(session, actor, request_id)

    @contextmanager
    def transaction(self) -> Generator[Session]:
        """As `writer`, for several Writers one after another (`Committer`)."""
        if self._writing == threading.get_ident():
            raise RuntimeError("this thread is writing already; hand the Writer on instead")
        with self._lock:
            self._writing = threading.get_ident()
            try:
                with self._begin("BEGIN IMMEDIATE") as session:
                    reader = Reader(session)
                    first = reader.seq()
                    yield session
                    last = reader.seq()
                    if last // PRUNE_EVERY != first // PRUNE_EVERY:
                        Writer(session).prune_changes(self._kept_changes)
                    session.connection.commit()
            finally:
                self._writing = None
            if last > first:
                with self._committed:
                    self._seq = max(self._seq, last)
                    self._committed.notify_all()

    def wait(self, after: int, timeout: float) -> int:
        """Block until a change above `after` is committed, or `timeout` seconds; returns the newest seq.

        Changes committed by another process are seen when the time is over, not before.
        """
        until = time.monotonic() + timeout
        with self._committed:
            while self._seq <= after and not self._closed:
                left = until - time.monotonic()
                if left <= 0 or not self._committed.wait(left):
                    break
            newest = self._seq
        return newest if newest > after or self._closed else self._newest()

    def wait_for_wanted(self, timeout: float) -> int:
        """Block until the rows of hosts say who is behind as of now; returns the change that is the newest now.

        For another process than the server, which writes it once a second. After `timeout` seconds they say
        what they say: the server is not there, or hears no host.
        """
        until = time.monotonic() + timeout
        now = self._newest()
        while time.monotonic() < until:
            with self.reader() as reader:
                if int(reader.setting(WANTED_AS_OF) or 0) >= now:
                    break
            time.sleep(0.1)
        return now

    def _newest(self) -> int:
        with self.reader() as reader:
            return reader.seq()

    @contextmanager
    def _begin(self, begin: str) -> Generator[Session]:
        """Open a transaction that rolls back at the end unless it was committed."""
        with _plainly(self._engine):
            connection = self._engine.raw_connection()
            try:
                driver = connection.dbapi_connection
                assert driver is not None, "it was just taken from the pool"
                driver.cursor().execute(begin)
                yield Session(driver, self._engine.dialect, self.liveness)
            finally:
                # The pool rolls back what was not committed.
                connection.close()

    def close(self) -> None:
        """Wake those who wait and close the connections."""
        with self._committed:
            self._closed = True
            self._committed.notify_all()
        self.credentials.close()
        self._engine.dispose()


def _engine(url: str, migrating: bool = False) -> Engine:
    """Make an engine whose transactions are begun by us, in words of our choice, and by nobody else."""
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
    arguments: dict[str, Any] = {
        "connect_args": {"check_same_thread": False, "timeout": BUSY_SECONDS},
        # Statements name their values, so that a Session can hand them on as they are.
        "paramstyle": "named",
    }
    if migrating:
        engine = create_engine(parsed, poolclass=NullPool, **arguments)
    else:
        engine = create_engine(parsed, pool_size=8, max_overflow=64, **arguments)

    def connected(dbapi_connection: Any, _record: Any) -> None:
        # sqlite3 would begin transactions by itself, deferred and too late; None leaves it to us.
        dbapi_connection.isolation_level = None
        _use_wal(dbapi_connection)
        dbapi_connection.execute("PRAGMA synchronous=FULL")
        dbapi_connection.execute(f"PRAGMA mmap_size={MAPPED_BYTES}")
        dbapi_connection.execute(f"PRAGMA foreign_keys={'OFF' if migrating else 'ON'}")

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


@contextmanager
def _migrating(engine: Engine) -> Generator[Connection]:
    """Open a transaction as migrations need it; it rolls back at the end unless it was committed."""
    with _plainly(engine), engine.connect() as connection:
        yield connection


@contextmanager
def _plainly(engine: Engine) -> Generator[None]:
    """Raise UserError where the file cannot be opened or has no tables of ours."""
    file = engine.url.database or ""
    if not os.path.exists(file):  # noqa: PTH110 (each transaction asks: pathlib costs ten times as much)
        # SQLite would make it, for others to read; only `upgrade` makes it.
        raise UserError(
            f"there is no database {file}: `netloom db upgrade`, or the server's first start, makes it"
        )
    try:
        yield
    except DatabaseError as error:
        if (problem := _said(error, str(error.orig))) is None:
            raise
        raise UserError(f"{file}: {problem}") from error
    except sqlite3.DatabaseError as error:
        if (problem := _said(error, str(error))) is None:
            raise
        raise UserError(f"{file}: {problem}") from error
    except (UnicodeDecodeError, UnreadableText) as error:
        raise UserError(f"{file}: {_DAMAGED}") from error


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
