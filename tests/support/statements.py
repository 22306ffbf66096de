"""The statements that a store executes, as SQLite hears them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from netloom.store.connections import Connections


def trace(connections: Connections, said: Callable[[str], Any]) -> None:
    """Tell of each statement on these connections of a store (`_readers`, `_writers`) from now on."""
    take = connections.take

    def traced() -> Any:
        connection: Any = take()
        connection.set_trace_callback(said)
        return connection

    connections.take = traced
