"""The hashes of all hosts' credentials, in memory: a host's request reads none of them from the database.

`netloom host add` and `netloom host remove` are other processes, and an old secret ends with their commit (LOOK_SECONDS later
at most). SQLite counts the commits of others in memory that its processes share (`PRAGMA data_version`, some system
calls). Only where that count moved, a revision is read that each change of a credential raises (`Writer`), and only where
the revision moved, the hashes are read again.
"""

from __future__ import annotations

import sqlite3
import threading
import time
from collections.abc import Callable
from contextlib import AbstractContextManager

from sqlalchemy import Engine
from sqlalchemy.exc import DatabaseError
from sqlalchemy.pool import PoolProxiedConnection

from netloom.store.liveness import Liveness
from netloom.store.reader import Reader

REVISION = "credentials"
"""The setting that counts changes of credentials."""

LOOK_SECONDS = 0.02
"""For how long what was looked at counts as new: of a thousand hosts' requests a few look."""


class Credentials:
    """Any thread may ask. What a host with another credential said before is forgotten (`Liveness`)."""

    def __init__(
        self,
        engine: Engine,
        reader: Callable[[], AbstractContextManager[Reader]],
        liveness: Liveness,
    ) -> None:
        self._engine = engine
        self._reader = reader
        self._liveness = liveness
        self._lock = threading.Lock()
        self._connection: PoolProxiedConnection | None = None
        self._version: int | None = None
        self._looked_at = float("-inf")
        self._revision: str | None = None
        self._hashes: dict[str, str] = {}

    def of(self, host: str) -> str | None:
        """The hash of a host's credential as of now; None for a host that is not registered. Raises UserError."""
        with self._lock:
            now = time.monotonic()
            if now >= self._looked_at + LOOK_SECONDS:
                version = self._data_version()
                if version is None or version != self._version:
                    self._look()
                    self._version = version
                self._looked_at = now
            return self._hashes.get(host)

    def _data_version(self) -> int | None:
        """A number that differs after a commit of any other connection; None where the database does not say."""
        try:
            if self._connection is None:
                # A connection of its own: each counts for itself.
                self._connection = self._engine.raw_connection()
            cursor = self._connection.cursor()
            cursor.execute("PRAGMA data_version")
            row = cursor.fetchone()
            return int(row[0]) if row else None
        except (sqlite3.Error, DatabaseError):
            # The reader that looks next says what is wrong.
            return None

    def _look(self) -> None:
        with self._reader() as reader:
            revision = reader.setting(REVISION) or ""
            if revision == self._revision:
                return
            hashes = reader.secret_hashes()
        for host, had in self._hashes.items():
            if hashes.get(host) != had:
                self._liveness.forget(host)
        self._hashes, self._revision = hashes, revision

    def close(self) -> None:
        """Give the connection back."""
        with self._lock:
            if self._connection is not None:
                self._connection.close()
                self._connection = None
