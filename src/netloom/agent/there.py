"""What is there on this host: read whole at start and at each audit, and in parts where something is told to have changed.

`found` has the fingerprint of every object of ours, empty where one is there but not whole. The tracker takes down in it
what it makes and removes.
"""

from __future__ import annotations

import logging
from collections import defaultdict
from collections.abc import Container
from pathlib import Path

from netloom.agent.shields import Shields
from netloom.dataplane.linux import dnsmasq, namespaces, nat, neightable, netns, watch
from netloom.dataplane.mark import broken, fingerprint
from netloom.dataplane.ovs import bridges
from netloom.dataplane.ovs.allocator import Allocator
from netloom.dataplane.ovs.groups import Groups, GroupTable
from netloom.dataplane.ovs.openflow import Switch
from netloom.dataplane.ovs.ovsdb import Ovsdb
from netloom.instances.instances import Instances
from netloom.metadata.listener import MetadataServer
from netloom.model.hoststate import Key, NeighbourBound
from netloom.model.names import INTEGRATION_BRIDGE, dhcp_namespace

log = logging.getLogger(__name__)

_INSIDE = ("namespace", "device", "route", "neighbour")
"""Kinds that `namespaces.read_namespace` finds."""
WAYS = ("route", "neighbour")
"""Those of them that the kernel drops with a device's link."""


class There:
    """`found`: key → fingerprint; `flows`: bridge → cookies; `groups`: bridge → its groups; `numbers`: device → OpenFlow port as flows name it;
    `links`: device of the kernel in a bridge → `up`, `down` or `no link`.

    The dicts stay the same objects: they are changed in place.
    """

    def __init__(
        self,
        database: Ovsdb,
        switch: Switch,
        groups: GroupTable,
        metadata: MetadataServer,
        instances: Instances,
        allocator: Allocator,
        *,
        shields: Shields | None,
        dhcp_directory: Path,
    ) -> None:
        self.found: dict[Key, str] = {}
        self.flows: dict[str, set[int]] = {}
        self.groups: dict[str, Groups] = {}
        self.numbers: dict[str, int] = {}
        self.links: dict[str, str] = {}
        self._database = database
        self._switch = switch
        self._groups = groups
        self._metadata = metadata
        self._instances = instances
        self._allocator = allocator
        self._shields = shields
        self._dhcp_directory = dhcp_directory
        self._dhcp_looks: dict[str, tuple[int, int, int]] = {}
        self._identities: dict[str, int] = {}

    def read(self) -> None:
        """Look at everything of ours; raises ApplyError where Open vSwitch is not there."""
        if not self._database.connected:
            self._database.connect()
        self._allocator.load()
        listeners: dict[Key, str] = {}
        for network_id in self._metadata.networks():
            # One in a namespace whose name has gone since hears nobody any more.
            alive = self._metadata.alive(network_id, dhcp_namespace(network_id))
            key = ("metadata", network_id)
            listeners[key] = self.found.get(key, "") if alive else ""
        found = bridges.read(self._database) | namespaces.read()
        found |= dnsmasq.audit(self._dhcp_directory) | self._instances.read() | listeners
        beside: dict[str, set[str]] = defaultdict(set)
        for key in found:
            if key[0] == "neighbour":
                beside[key[1]].add(key[3])
        for name in [key[1] for key in found if key[0] == "namespace"]:
            known = neightable.read_known(name)
            if known is not None:
                more = tuple(sorted(known - beside[name]))
                bound = NeighbourBound(namespace=name, known=more)
                lacks = beside[name] - known
                said = f"it did not know {', '.join(sorted(lacks))}"
                found[bound.key] = broken(said) if lacks else fingerprint(bound)
            mark = nat.read(name) if name.startswith("qrouter-") else None
            if mark is not None:
                found["nat", name] = mark
        self.found.clear()
        self.found.update(found)
        flows = {key[1]: self._switch.read(key[1]) for key in found if key[0] == "bridge"}
        if INTEGRATION_BRIDGE in flows:
            self._switch.show_ports_of_fragments(INTEGRATION_BRIDGE)
        self.flows.clear()
        self.flows.update(flows)
        self.groups.clear()
        self.groups.update((name, self._groups.read(name)) for name in flows)
        self.links = bridges.link_states_of(self._database)
        if self._shields is not None:
            self._shields.read()

    def switch_moved(self) -> bool:
        """Take in what the database says now of bridges and ports; true if that is not as we left it."""
        fresh, numbers = bridges.read(self._database), bridges.ofports(self._database)
        links = bridges.link_states_of(self._database)
        before = self._of(("bridge", "interface"))
        if fresh == before and numbers == self.numbers and links == self.links:
            return False
        self.links = links
        self._replace(before, fresh)
        return True

    def taken_away(self, ids: frozenset[int]) -> bool:
        """Look again at namespaces that something is gone from; true where they are not as we left them."""
        if watch.HERE in ids and self.switch_moved():
            return True
        known = watch.names()
        ours = {key[1] for key in self.found if key[0] == "namespace"}
        gone = {name for name in ours if not netns.exists(name)}
        moved = False
        for name in gone | ours & {known[number] for number in ids if number in known}:
            fresh = {} if name in gone else namespaces.read_namespace(name)
            before = {k: mark for k, mark in self.found.items() if k[1] == name and k[0] in _INSIDE}
            if fresh != before:
                self._replace(before, fresh)
                moved = True
        return moved

    def ended(self, busy: Container[Key]) -> bool:
        """Look whether what may end by itself still lives; true where it does not. `busy`: at work on now."""
        for name in dnsmasq.end_hung(self._dhcp_directory, self._dhcp_looks):
            log.warning("dnsmasq %s did not answer any more: it is started again", name)
        alive = dnsmasq.read(self._dhcp_directory) | self._instances.read()
        alive = {key: mark for key, mark in alive.items() if key not in busy}
        before = self._of(("dnsmasq", "instance"))
        if alive == {key: mark for key, mark in before.items() if key not in busy}:
            return False
        self._replace(before, alive)
        return True

    def replaced(self) -> bool:
        """Look whether the name of each namespace still leads to where it led; true where one does not.

        The kernel does not tell of it: what goes with a namespace is no news, and one that a process or socket is in
        stays behind whole, without its name.
        """
        before = self._identities
        names = [key[1] for key in self.found if key[0] == "namespace"]
        self._identities = {name: netns.identity(name) for name in names}
        gone = [
            name
            for name, now in self._identities.items()
            if not now or now != before.get(name, now)
        ]
        for name in gone:
            log.info("namespace %s is gone or another one: reading everything anew", name)
            del self._identities[name]
        return bool(gone)

    def look_into(self, namespace: str) -> None:
        """Read a namespace's ways again: the kernel drops some when addresses go or a device is put down."""
        known = ("namespace", namespace) in self.found
        fresh = namespaces.read_ways(namespace) if known else {}
        before = {k: mark for k, mark in self.found.items() if k[0] in WAYS and k[1] == namespace}
        self._replace(before, fresh)

    def _of(self, kinds: tuple[str, ...]) -> dict[Key, str]:
        return {key: mark for key, mark in self.found.items() if key[0] in kinds}

    def _replace(self, before: Container[Key] | dict[Key, str], fresh: dict[Key, str]) -> None:
        for key in [key for key in self.found if key in before]:
            del self.found[key]
        self.found.update(fresh)
