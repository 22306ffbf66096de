"""DHCP servers and metadata listeners: what answers in a network's namespace."""

from __future__ import annotations

from pathlib import Path

from netloom.agent.reconcile.diff import Change, Mark
from netloom.agent.reconcile.kind import Failure, Kind, Look, each
from netloom.agent.reconcile.kinds.inside import seen, tables
from netloom.dataplane.linux import dnsmasq, nft
from netloom.dataplane.mark import broken, fingerprint
from netloom.metadata.listener import MetadataServer
from netloom.model.hoststate import Dnsmasq, Key, MetadataListener
from netloom.model.names import dhcp_namespace


class DhcpServers(Kind):
    """dnsmasq of each network: its process, its files and the table before it."""

    name = "dnsmasq"
    sorts = ("dnsmasq",)
    after = ("device", "route", "neighbour")
    inside = True

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._expected = nft.Expected()
        self._stamps: dict[Key, dnsmasq.Stamp] = {}  # of each server's files, as they were right

    def touched(self, item: Dnsmasq) -> Mark:
        """Why a server is broken whose files others have changed since they were looked at last; else empty."""
        now = dnsmasq.stamp(item.network_id, self._directory)
        if self._stamps.get(item.key) == now:
            return ""
        self._stamps[item.key] = now
        wrong = dnsmasq.damage(item, self._directory)
        return broken(wrong) if wrong else ""

    def forget(self, key: Key) -> None:
        self._stamps.pop(key, None)

    def read(self, look: Look) -> dict[Key, Mark]:
        found = {
            key: mark
            for key, mark in dnsmasq.read(self._directory).items()
            if look.only is None or self.place(key) in look.only
        }
        servers = {item.network_id: item for item in look.of(self.name) if item.key in found}
        there = seen(look)
        texts = {
            name: dnsmasq.wanted_table(item)
            for name, item in servers.items()
            if found[item.key] == fingerprint(item)
        }
        expected = self._expected.tables(texts, forget=look.only is None)
        for name in texts:
            item = servers[name]
            wrong = dnsmasq.damage(item, self._directory)
            if not wrong and item.namespace in there and name in expected:
                table = tables(look, item.namespace).get(dnsmasq.TABLE, nft.Table())
                odd = nft.differences(expected[name], table)
                wrong = f"the table before it: {nft.in_short(odd)}" if odd else ""
            if wrong:
                found[item.key] = broken(wrong)
        return found

    def place(self, key: Key) -> str:
        return dhcp_namespace(key[1])

    def mark(self, item: Dnsmasq) -> Mark:
        return fingerprint(item)

    def apply(self, change: Change) -> dict[Key, Failure]:
        failed = each(change.make, self._ensure)
        return failed | each(change.remove, lambda k: dnsmasq.remove(k[1], self._directory))

    def _ensure(self, item: Dnsmasq) -> None:
        dnsmasq.ensure(item, self._directory)
        self._stamps[item.key] = dnsmasq.stamp(item.network_id, self._directory)


class Metadata(Kind):
    """Sockets that this process has open in namespaces."""

    name = "metadata"
    sorts = ("metadata",)
    after = ("device", "dnsmasq")

    def __init__(self, server: MetadataServer) -> None:
        self._server = server
        self._marks: dict[str, Mark] = {}

    def read(self, look: Look) -> dict[Key, Mark]:
        found: dict[Key, Mark] = {}
        for network_id in self._server.networks():
            namespace = dhcp_namespace(network_id)
            # One in a namespace whose name has gone since hears nobody any more.
            alive = self._server.alive(network_id, namespace)
            mark = self._marks.get(network_id, "")
            found["metadata", network_id] = mark if alive else broken("its listener was closed")
        return found

    def mark(self, item: MetadataListener) -> Mark:
        return fingerprint(item)

    def apply(self, change: Change) -> dict[Key, Failure]:
        failed = each(change.make, self._ensure)
        return failed | each(change.remove, lambda key: self._server.remove(key[1]))

    def _ensure(self, item: MetadataListener) -> None:
        self._server.ensure(item)
        self._marks[item.network_id] = fingerprint(item)
