"""The statements that a store executes, as SQLite hears them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from netloom.store.connections import Connections


def trace(connections: Connections, said: Callable[[str], Any] | None) -> None:
    """Tell of each statement on these connections of a store (`_readers`, `_writers`) from now on; None: no more."""

    def traced() -> Any:
        connection: Any = Connections.take(connections)
        connection.set_trace_callback(said)
        return connection

    connections.take = traced
