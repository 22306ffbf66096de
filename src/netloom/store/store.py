"""The store: opening it, the one writer, snapshots for readers, waiting for changes."""

from __future__ import annotations

import threading
import time
import uuid
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

from sqlalchemy import Connection, Engine, text

from netloom.model.errors import UserError
from netloom.store import migrate
from netloom.store.connections import Begun, Connections, Plainly, open_engine
from netloom.store.credentials import Credentials
from netloom.store.liveness import WANTED_AS_OF, Liveness
from netloom.store.reader import Reader
from netloom.store.session import Session
from netloom.store.writer import Writer

KEPT_CHANGES = 100_000
"""How many changes stay in the feed, as history and for hosts that were away."""

_OPS = ("insert", "update", "delete")

_EPOCH = text("SELECT value FROM setting WHERE key = 'epoch'")

PRUNE_EVERY = 1_000
"""After how many changes older ones are dropped: often enough that it takes a few ms."""


class Store:
    """One database. Threads share it; each takes a reader or the writer for as long as it needs."""

    def __init__(self, url: str, kept_changes: int = KEPT_CHANGES):
        self.url = url
        self._kept_changes = kept_changes
        self._engine = open_engine(url)
        self.liveness = Liveness()
        self._readers = Connections(self._engine, self.liveness)
        self._writers = Connections(open_engine(url, writing=True), self.liveness)
        self._lock = threading.Lock()
        self._writing: int | None = None
        self._committed = threading.Condition()
        self._seq = 0
        self._newest: dict[tuple[str, str], int] = {}
        self._closed = False
        self.credentials = Credentials(self._engine, self.reader, self.liveness)

    @classmethod
    def open(cls, url: str, kept_changes: int = KEPT_CHANGES) -> Store:
        """Open `sqlite:////path/file.db`; the file is made by `upgrade`. Raises UserError for other URLs.

        `kept_changes`: how much of the feed stays when it grows (a writer prunes it now and then).
        """
        return cls(url, kept_changes)

    def upgrade(self) -> None:
        """Bring the database (a new file included) to this program's version. Raises UserError.

        Other writers wait; a crash half-way leaves the database as it was.
        """
        # Steps rebuild tables, as SQLite must: meanwhile foreign keys cannot be enforced, so an engine of its own.
        engine = open_engine(self.url, migrating=True)
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
        with Begun(self._readers, "BEGIN", _itself) as session:
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

    def reader(self) -> Begun[Reader]:
        """Give a snapshot: all that is read through it is of one moment, whatever is written meanwhile."""
        return Begun(self._readers, "BEGIN", Reader)

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
                with Begun(self._writers, "BEGIN IMMEDIATE", _itself) as session:
                    reader = Reader(session)
                    first = reader.seq()
                    session.seq = first
                    yield session
                    last = session.seq or reader.seq()
                    if last // PRUNE_EVERY != first // PRUNE_EVERY:
                        Writer(session).prune_changes(self._kept_changes)
                    session.connection.commit()
                # Before anybody is told of the commit.
                self._newest.update(dict.fromkeys(session.changed, last))
            finally:
                self._writing = None
            if last > first:
                with self._committed:
                    self._seq = max(self._seq, last)
                    self._committed.notify_all()

    def newest(self, kind: str, *ops: str) -> int:
        """Seq of a change at or after the newest of this kind that this process has committed; 0 where it has none.

        `ops`: of these operations alone (insert, update, delete).
        """
        return max(self._newest.get((kind, op), 0) for op in ops or _OPS)

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
        return newest if newest > after or self._closed else self._seq_now()

    def wait_for_wanted(self, timeout: float) -> int:
        """Block until the rows of hosts say who is behind as of now; returns the change that is the newest now.

        For another process than the server, which writes it once a second. After `timeout` seconds they say
        what they say: the server is not there, or hears no host.
        """
        until = time.monotonic() + timeout
        now = self._seq_now()
        while time.monotonic() < until:
            with self.reader() as reader:
                if int(reader.setting(WANTED_AS_OF) or 0) >= now:
                    break
            time.sleep(0.1)
        return now

    def _seq_now(self) -> int:
        with self.reader() as reader:
            return reader.seq()

    def close(self) -> None:
        """Wake those who wait and close the connections."""
        with self._committed:
            self._closed = True
            self._committed.notify_all()
        self.credentials.close()
        self._readers.close()
        self._writers.close()


def _itself(session: Session) -> Session:
    return session


@contextmanager
def _migrating(engine: Engine) -> Generator[Connection]:
    """Open a transaction as migrations need it; it rolls back at the end unless it was committed."""
    with Plainly(engine), engine.connect() as connection:
        yield connection
