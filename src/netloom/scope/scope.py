"""The stream: the inventory kept up with the feed, each host's view, and the steps between its versions."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from netloom.model import KINDS, HostView, ViewDelta
from netloom.scope.effect import Concern, Row, fresh_rows
from netloom.scope.inventory import TABLE_OF_KIND, Inventory
from netloom.scope.moment import Moment
from netloom.scope.select import Tables, select, tables
from netloom.store import Reader, Store

MOST_REQUESTS = 200
"""How many requests a step names."""

KEPT_STEPS = 1000
"""How many steps of each host's view are kept; who is further behind gets a snapshot."""


class _Feed:
    """What one host was told: its view's tables as of now, and the last steps that led there.

    `floor`: the oldest seq that a host may stand at to be brought here by `steps`.
    """

    def __init__(self, view: Tables, floor: int):
        self.view = view
        self.floor = floor
        self.steps: deque[ViewDelta] = deque()

    def patch(
        self, rows: Mapping[Row, Any | None], seq: int, requests: Mapping[str, list[str]]
    ) -> bool:
        """Go on to a view in which only these rows differ: they came, changed, or (None) went.

        `requests`: id of an object → the requests that changed it. True where anything does differ.
        """
        behind: dict[str, None] = {}
        upsert: dict[str, list[Any]] = {}
        delete: dict[str, list[str]] = {}
        for (table, id), row in rows.items():
            had = self.view[table]
            if row is None:
                if had.pop(id, None) is None:
                    continue
                delete.setdefault(table, []).append(id)
            elif had.get(id) != row:
                had[id] = row
                upsert.setdefault(table, []).append(row)
            else:
                continue
            behind.update(dict.fromkeys(requests.get(id, ())))
        named = tuple(behind)[:MOST_REQUESTS]
        return self._keep(ViewDelta(seq=seq, upsert=upsert, delete=delete, request_ids=named))

    @property
    def wanted(self) -> int:
        """The seq of the newest step, the snapshot included."""
        return self.steps[-1].seq if self.steps else self.floor

    def _keep(self, step: ViewDelta) -> bool:
        if step.bare:
            return False
        self.steps.append(step)
        if len(self.steps) > KEPT_STEPS:
            self.floor = self.steps.popleft().seq
        return True


class Scope:
    """Views of all hosts, as of the newest change of the store. Any thread may call it.

    Nothing runs in the background: each call first reads what has changed since the last one.
    Whoever waits for changes does so with `Store.wait`.
    """

    def __init__(self, store: Store):
        self._store = store
        self._lock = threading.Lock()
        self._inventory: Inventory | None = None
        self._seq = 0
        self._feeds: dict[str, _Feed] = {}
        self._stepped: dict[str, int] = {}
        self._concern = Concern()

    @property
    def seq(self) -> int:
        """The newest change that anybody was told of; the store may have later ones."""
        return self._seq

    def news(self) -> tuple[int, dict[str, int]]:
        """The newest change, and the hosts whose view has changed since the last call: host → seq of its newest step.

        A change that does not concern a host does not name it here, so that host's stream sleeps on. Where no host
        has a stream nobody looks, and the newest change is 0.
        """
        with self._lock:
            if self._feeds:
                self._catch_up()
            stepped, self._stepped = self._stepped, {}
            return self._seq if self._feeds else 0, stepped

    def snapshot(self, host: str) -> ViewDelta:
        """The host's whole view, as the first step of its stream."""
        with self._lock:
            inventory = self._catch_up()
            feed = self._feeds.get(host)
            if feed is None:
                feed = self._feeds[host] = _Feed(tables(inventory, host), self._seq)
                self._concern.take_in(inventory, host)
            upsert = {name: list(rows.values()) for name, rows in feed.view.items()}
            return ViewDelta(seq=self._seq, snapshot=True, upsert=upsert)

    def since(self, host: str, after: int) -> list[ViewDelta] | None:
        """Steps that bring a host which stands at `after` to the newest change, in order of seq.

        The last step has the newest seq, even where it is empty: so the host knows how far it is. An empty
        list: nothing at all has changed. None: those steps are not kept (any more), send a snapshot.
        """
        with self._lock:
            self._catch_up()
            feed = self._feeds.get(host)
            if feed is None or not feed.floor <= after <= self._seq:
                return None
            steps = [step for step in feed.steps if step.seq > after]
            if (steps[-1].seq if steps else after) < self._seq:
                steps.append(ViewDelta(seq=self._seq))
            return steps

    def view(self, host: str) -> HostView:
        """What the host must know now; for a host that nobody has heard of, nothing."""
        with self._lock:
            return select(self._catch_up(), host, self._seq)

    def knows(self, host: str, things: Iterable[tuple[str, str]]) -> set[tuple[str, str]]:
        """Of these (kind, id), those in the host's view, and itself: what it may report on.

        The kind `host` is a host that it shares a network with.
        """
        with self._lock:
            inventory = self._catch_up()
            feed = self._feeds.get(host)
            view = feed.view if feed is not None else tables(inventory, host)
            return {
                (kind, id)
                for kind, id in things
                if (kind, id) == ("host", host)
                or id in view.get(TABLE_OF_KIND.get(kind, "chassis" if kind == "host" else ""), {})
            }

    def wanted(self, host: str) -> int:
        """The newest change that concerns the host: what it must have applied to be as it shall be.

        0 for a host that has not asked for its stream since this process began.
        """
        with self._lock:
            self._catch_up()
            feed = self._feeds.get(host)
            return 0 if feed is None else feed.wanted

    def moment(self) -> Moment:
        """All that there is now. Streams wait while tables are copied (their rows are shared), and no longer."""
        with self._lock:
            inventory = self._catch_up()
            wanted = {host: feed.wanted for host, feed in self._feeds.items()}
            copied = {table: dict(inventory.table(table)) for table in TABLE_OF_KIND.values()}
            return Moment(copied, dict(inventory.facts), self._seq, wanted)

    def views(self) -> dict[str, HostView]:
        """The views of all hosts that have reported facts, as of one moment."""
        return self.moment().views()

    def _catch_up(self) -> Inventory:
        with self._store.reader() as reader:
            seq = reader.seq()
            if self._inventory is not None and seq == self._seq:
                return self._inventory
            inventory, self._inventory = self._inventory, None
            if inventory is None or reader.oldest() > self._seq + 1:
                inventory = load(reader)
                # The steps are lost: every host that streams must ask for a snapshot.
                self._stepped.update(dict.fromkeys(self._feeds, seq))
                self._feeds.clear()
                self._concern = Concern()
            else:
                changed = reader.changed(self._seq)
                changes = _changes(reader, changed)
                requests = {id: asked for (_, id), asked in changed.items() if asked}
                for host, rows in self._concern.change(inventory, changes).items():
                    fresh = fresh_rows(inventory, self._concern.covers(host), rows)
                    if self._feeds[host].patch(fresh, seq, requests):
                        self._stepped[host] = seq
            # Only now: had anything above failed, the next call would begin with a fresh inventory.
            self._inventory, self._seq = inventory, seq
            return inventory


def _changes(
    reader: Reader, changed: Iterable[tuple[str, str]]
) -> Iterator[tuple[str, str, Any | None]]:
    """(table, id, row) of what has changed, read again; the table `facts` for hosts."""
    ids: dict[str, list[str]] = {}
    for kind, id in changed:
        ids.setdefault(kind, []).append(id)
    for kind, table in TABLE_OF_KIND.items():
        if kind in ids:
            rows = reader.get_many(KINDS[kind], ids[kind])
            yield from ((table, id, rows.get(id)) for id in ids[kind])
    for name in ids.get("host", ()):
        row = reader.host(name)
        yield "facts", name, None if row is None else row.facts


def load(reader: Reader) -> Inventory:
    """The inventory as the store has it."""
    inventory = Inventory()
    for kind, table in TABLE_OF_KIND.items():
        for row in reader.list(KINDS[kind]):
            inventory.put(table, row)
    inventory.facts = {
        name: host.facts for name, host in reader.hosts().items() if host.facts is not None
    }
    return inventory
