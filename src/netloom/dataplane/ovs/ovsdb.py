"""A slim client of the Open vSwitch database (RFC 7047): one connection, one monitor.

The rows of the monitored tables are kept in memory, as the server pushes them; a thread reads the
socket. It costs 1 MB where the IDL of the `ovs` package costs 30.
"""

from __future__ import annotations

import json
import socket
import threading
import time
from collections.abc import Callable, Sequence
from typing import Any

from netloom.dataplane.process import ApplyError

Row = dict[str, Any]

MONITORED: dict[str, list[str]] = {
    "Open_vSwitch": [
        "bridges",
        "cur_cfg",
        "next_cfg",
        "external_ids",
        "other_config",
        "ovs_version",
    ],
    "Bridge": ["name", "ports", "external_ids", "datapath_type", "fail_mode", "other_config"],
    "Port": [
        *("name", "interfaces", "external_ids", "tag"),
        *("bond_mode", "bond_downdelay", "bond_updelay"),
    ],
    "Interface": [
        "name",
        "type",
        "options",
        "external_ids",
        "ofport",
        "mtu_request",
        "error",
        # Only to be told at once: what they say is looked up in the kernel.
        "admin_state",
        "link_state",
    ],
}


def decode(value: Any) -> Any:
    """OVSDB's notation as Python values: sets as tuples, maps as dicts, uuids as text."""
    if isinstance(value, list):
        kind, inner = value
        if kind == "uuid":
            return inner
        if kind == "set":
            return tuple(decode(item) for item in inner)
        if kind == "map":
            return {key: decode(item) for key, item in inner}
    return value


def first(value: Any) -> Any:
    """The value of an optional column, None where it is empty."""
    return (value[0] if value else None) if isinstance(value, tuple) else value


def many(value: Any) -> tuple[Any, ...]:
    """The values of a set column, which travels bare when there is just one."""
    return value if isinstance(value, tuple) else (value,)


def unopened(row: Row) -> str:
    """Why the switch does not have an interface open, in words; empty where it has."""
    number = first(row["ofport"])
    if row["error"] or number is None or number <= 0:
        return str(first(row["error"]) or "it has no number")
    return ""


def to_map(values: dict[str, str]) -> list[Any]:
    """A dict in OVSDB's notation."""
    return ["map", [[key, value] for key, value in sorted(values.items())]]


class Ovsdb:
    """The connection. `changed` is called (in the reading thread) after each change of an interface or
    bridge, when the external_ids of the switch itself lose or change one, and when the connection is lost.
    """

    def __init__(self, path: str, changed: Callable[[], None]) -> None:
        self.path = path
        self.tables: dict[str, dict[str, Row]] = {}
        self._changed = changed
        self._condition = threading.Condition()
        self._replies: dict[int, dict[str, Any]] = {}
        self._next_id = 0
        self._socket: socket.socket | None = None

    @property
    def connected(self) -> bool:
        """True while the server is there."""
        return self._socket is not None

    def connect(self) -> None:
        """Connect and fetch the monitored tables; raises ApplyError where there is no server."""
        link = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        link.settimeout(10)
        try:
            link.connect(self.path)
        except OSError as error:
            link.close()
            raise ApplyError(
                f"Open vSwitch does not answer at {self.path} ({error.strerror}): is it running?"
            ) from error
        link.settimeout(None)
        with self._condition:
            self.tables = {name: {} for name in MONITORED}
            self._replies.clear()
            self._socket = link
        threading.Thread(target=self._read, args=(link,), daemon=True, name="ovsdb").start()
        wanted = {name: [{"columns": columns}] for name, columns in MONITORED.items()}
        self._call("monitor", ["Open_vSwitch", None, wanted])

    def close(self) -> None:
        """Drop the connection; the database stays as it is."""
        with self._condition:
            link, self._socket = self._socket, None
        if link is not None:
            link.shutdown(socket.SHUT_RDWR)
            link.close()

    def rows(self, table: str) -> dict[str, Row]:
        """A copy of a table's rows by uuid."""
        with self._condition:
            return dict(self.tables.get(table, {}))

    def root(self) -> Row:
        """The one row of the table Open_vSwitch."""
        return next(iter(self.rows("Open_vSwitch").values()), {})

    def transact(self, operations: Sequence[dict[str, Any]], wait: float = 10.0) -> None:
        """Commit the operations, then wait until the switch has carried them out (at most `wait` s)."""
        bump = {
            "op": "mutate",
            "table": "Open_vSwitch",
            "where": [],
            "mutations": [["next_cfg", "+=", 1]],
        }
        ask = {"op": "select", "table": "Open_vSwitch", "where": [], "columns": ["next_cfg"]}
        results = self._call("transact", ["Open_vSwitch", *operations, bump, ask])
        for result in results:
            if result and result.get("error"):
                raise ApplyError(
                    f"Open vSwitch refused: {result['error']}: {result.get('details', '')}"
                )
        target = results[len(operations) + 1]["rows"][0]["next_cfg"]
        deadline = time.monotonic() + wait
        with self._condition:
            while self._carried_out() < target:
                if self._socket is None or not self._condition.wait(deadline - time.monotonic()):
                    raise ApplyError(
                        "Open vSwitch has not carried out a change: is ovs-vswitchd running?"
                    )

    def _carried_out(self) -> int:
        root = next(iter(self.tables.get("Open_vSwitch", {}).values()), {})
        return root.get("cur_cfg", 0)

    def _call(self, method: str, params: list[Any]) -> Any:
        with self._condition:
            link = self._socket
            if link is None:
                raise ApplyError(f"Open vSwitch does not answer at {self.path}: is it running?")
            self._next_id += 1
            number = self._next_id
            link.sendall(json.dumps({"method": method, "params": params, "id": number}).encode())
            deadline = time.monotonic() + 10
            while number not in self._replies:
                left = deadline - time.monotonic()
                if self._socket is not link or left <= 0 or not self._condition.wait(left):
                    raise ApplyError(f"Open vSwitch does not answer at {self.path}: is it running?")
            reply = self._replies.pop(number)
        if reply.get("error"):
            raise ApplyError(f"Open vSwitch refused {method}: {reply['error']}")
        return reply["result"]

    def _read(self, link: socket.socket) -> None:
        decoder = json.JSONDecoder()
        waiting = b""
        try:
            while data := link.recv(1 << 18):
                waiting += data
                if not data.endswith(b"}"):
                    continue  # no message ends here: decoding would be for nothing
                text = waiting.decode(errors="surrogateescape")
                start = 0
                try:
                    while start < len(text):
                        message, start = decoder.raw_decode(text, start)
                        self._handle(link, message)
                    waiting = b""
                except ValueError:
                    waiting = text[start:].encode(errors="surrogateescape")
        except OSError:
            pass  # closed, by us or by the server: both end below
        with self._condition:
            if self._socket is link:
                self._socket = None
                link.close()
            self._condition.notify_all()
        self._changed()

    def _handle(self, link: socket.socket, message: dict[str, Any]) -> None:
        if message.get("method") == "echo":
            link.sendall(
                json.dumps(
                    {"id": message["id"], "result": message["params"], "error": None}
                ).encode()
            )
        elif message.get("method") == "update":
            if self._update(message["params"][1]):
                self._changed()
        elif "result" in message:
            with self._condition:
                if isinstance(
                    message["result"], dict
                ):  # the reply to `monitor`: the tables as they are
                    self._update(message["result"])
                self._replies[message["id"]] = message
                self._condition.notify_all()

    def _update(self, updates: dict[str, Any]) -> bool:
        before = self.root().get("external_ids", {})
        with self._condition:
            for table, rows in updates.items():
                for uuid, change in rows.items():
                    if "new" in change:
                        self.tables[table][uuid] = {k: decode(v) for k, v in change["new"].items()}
                    else:
                        self.tables[table].pop(uuid, None)
            self._condition.notify_all()
        if updates.keys() != {"Open_vSwitch"}:
            return bool(updates)
        return not before.items() <= self.root().get("external_ids", {}).items()
