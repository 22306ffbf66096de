"""DHCP servers, metadata listeners and router advertisements: what answers in a namespace."""

from __future__ import annotations

import logging
from pathlib import Path

from netloom.agent.reconcile.diff import Change, Mark
from netloom.agent.reconcile.kind import Failure, Kind, Look, each
from netloom.agent.reconcile.kinds.inside import seen, tables
from netloom.agent.reconcile.kinds.programs import Programs
from netloom.dataplane.linux import advertiser, dnsmasq, nft
from netloom.dataplane.mark import broken, fingerprint
from netloom.metadata.listener import MetadataServer
from netloom.model.advertising import Advertiser
from netloom.model.hoststate import Dnsmasq, Key, MetadataListener
from netloom.model.names import dhcp_namespace

log = logging.getLogger(__name__)


class DhcpServers(Programs):
    """dnsmasq of each network: its process, its files and the table before it."""

    name = "dnsmasq"
    sorts = ("dnsmasq",)
    after = ("device", "route", "neighbour")
    files = dnsmasq.FILES

    def __init__(self, directory: Path) -> None:
        super().__init__(directory)
        self._expected = nft.Expected()
        self._looks: dict[str, tuple[int, int, int]] = {}

    def known(self) -> dict[Key, Mark]:
        return dnsmasq.read(self.directory)

    def alive(self) -> dict[Key, Mark]:
        for name in dnsmasq.end_hung(self.directory, self._looks):
            log.warning("dnsmasq %s did not answer any more: it is started again", name)
        return self.known()

    def damage(self, item: Dnsmasq) -> str:
        return dnsmasq.damage(item, self.directory)

    def read(self, look: Look) -> dict[Key, Mark]:
        found = self.there(look)
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
            wrong = self.damage(item)
            if not wrong and item.namespace in there and name in expected:
                table = tables(look, item.namespace).get(dnsmasq.TABLE, nft.Table())
                odd = nft.differences(expected[name], table)
                wrong = f"the table before it: {nft.in_short(odd)}" if odd else ""
            if wrong:
                found[item.key] = broken(wrong)
        return found

    def place(self, key: Key) -> str:
        return dhcp_namespace(key[1])

    def apply(self, change: Change) -> dict[Key, Failure]:
        failed = each(change.make, self._ensure)
        return failed | each(change.remove, lambda k: dnsmasq.remove(k[1], self.directory))

    def _ensure(self, item: Dnsmasq) -> None:
        dnsmasq.ensure(item, self.directory)
        self.written(item)


class Advertisers(Programs):
    """What sends the advertisements of each router here that has any."""

    name = "advertiser"
    sorts = ("advertiser",)
    after = ("device", "route")

    def known(self) -> dict[Key, Mark]:
        return advertiser.read(self.directory)

    def damage(self, item: Advertiser) -> str:
        return advertiser.damage(item, self.directory)

    def apply(self, change: Change) -> dict[Key, Failure]:
        failed = each(change.make, self._ensure)
        return failed | each(change.remove, lambda k: advertiser.remove(k[1], self.directory))

    def _ensure(self, item: Advertiser) -> None:
        advertiser.ensure(item, self.directory)
        self.written(item)


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
