"""One delta tracker for all kinds of objects: what is wanted, what is there, the smallest change.

`Tracker.reconcile` brings the host to a HostState in this order: bridges, interfaces, namespaces, new
NAT, devices, routes, the rest of NAT, DHCP, metadata, then all flow changes of a bridge in one bundle, then
instances; after that it removes what is no longer wanted, in reverse. An object that fails is retried with growing
pauses and never stops the others.
"""

from __future__ import annotations

import logging
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import TypeVar

from netloom.agent import beside, translation
from netloom.agent.connections import Connections
from netloom.agent.links import Links
from netloom.agent.neighbours import Neighbours
from netloom.agent.repairs import Repairs
from netloom.agent.runs import Runs
from netloom.agent.shields import Shields
from netloom.agent.switchflows import SwitchFlows
from netloom.agent.there import WAYS, There
from netloom.agent.trouble import Trouble, Troubles
from netloom.agent.workers import Workers
from netloom.dataplane.linux import dnsmasq, namespaces, nat
from netloom.dataplane.linux.netlink import link_names
from netloom.dataplane.mark import broken, fingerprint
from netloom.dataplane.ovs import bridges
from netloom.dataplane.ovs.allocator import Allocator
from netloom.dataplane.ovs.bridges import peer_name
from netloom.dataplane.ovs.groups import GroupTable
from netloom.dataplane.ovs.openflow import Switch
from netloom.dataplane.ovs.ovsdb import Ovsdb
from netloom.dataplane.process import ApplyError
from netloom.instances.instances import Instances, instance_mark
from netloom.metadata.listener import MetadataServer
from netloom.model.hoststate import (
    Bridge,
    Device,
    Dnsmasq,
    HostObject,
    HostState,
    Instance,
    Interface,
    Key,
    MetadataListener,
    Namespace,
    Neighbour,
    NeighbourBound,
    NsRoute,
)
from netloom.model.names import INTEGRATION_BRIDGE

T = TypeVar("T", bound=HostObject)

log = logging.getLogger(__name__)

UNPLUGGED = broken("a card of it is not plugged")
"""Mark of an instance that runs."""


class Tracker:
    """What is there on this host, and the trouble with it. Used by the reconcile thread alone."""

    def __init__(
        self,
        database: Ovsdb,
        switch: Switch,
        groups: GroupTable,
        metadata: MetadataServer,
        instances: Instances,
        workers: Workers,
        *,
        run_dir: Path,
        userspace: bool,
        connections_per_port: int,
    ) -> None:
        self.database = database
        self.switch = switch
        self.metadata = metadata
        self.instances = instances
        self.workers = workers
        self.runs = Runs(self, instances, workers)
        self.dhcp_directory = run_dir / "dhcp"
        self.userspace = userspace
        self.allocator = Allocator(database)
        self._shields = Shields(database)
        self.there = There(
            database,
            switch,
            groups,
            metadata,
            instances,
            self.allocator,
            shields=self._shields if userspace else None,
            dhcp_directory=self.dhcp_directory,
        )
        self.trouble = Troubles()
        self.busy: dict[Key, str] = {}
        self.changes = 0
        self.dirty = False
        self.repairs = Repairs()
        self._links = Links()
        self._connections = Connections(switch, connections_per_port)
        self._flows = SwitchFlows(
            switch, groups, self.allocator, self.there, self.trouble, self._connections
        )
        self._neighbours = Neighbours()
        self._state = HostState()
        self._announcements: list[tuple[Device, list[str]]] = []

    @property
    def state(self) -> HostState:
        """What shall be, as of the last `reconcile`."""
        return self._state

    @property
    def found(self) -> dict[Key, str]:
        """What is there: key → fingerprint; changed in place."""
        return self.there.found

    # --- what is there -------------------------------------------------------------------------

    def read(self) -> None:
        """Look at everything of ours on this host; raises ApplyError where Open vSwitch is not there."""
        self.there.read()
        self._connections.look_again()

    def watch(self) -> bool:
        """Look whether what may end by itself still lives; true where it does not."""
        before = {item.key: self.found.get(item.key) for item in self._state.each(Instance)}
        if not self.there.ended(self.busy):
            return False
        for item in self._state.each(Instance):
            ran = before[item.key] == instance_mark(item)
            if ran and not self.found.get(item.key) and item.key not in self.busy:
                self.runs.ended(item)
        return True

    # --- bringing it about ---------------------------------------------------------------------

    def reconcile(self, state: HostState) -> list[tuple[Device, list[str]]]:
        """Bring the host to `state` as far as it goes; what did not go is in `trouble` afterwards.

        Returns the addresses announced by gratuitous ARP, to be announced once more a little later.
        """
        self.trouble.begin(state.objects)
        self.repairs.begin(state.objects)
        self.dirty = False
        self._state = state
        self._switch_ports(self._differing(Bridge))
        self._switch_ports(self._differing(Interface))
        self._shield()
        self._each(Namespace, namespaces.ensure_namespace)
        # A router answers itself at an address that no NAT leads on from, and remembers that it did: a floating
        # IP's NAT is there before its address and goes after it.
        tables = translation.tables_of(state, self.trouble)
        self.changes += translation.bring_about(tables, self.found, self.trouble, early=True)
        touched = self._devices()
        self._each(NsRoute, namespaces.ensure_route)
        self._beside()
        self.changes += translation.bring_about(tables, self.found, self.trouble, early=False)
        self._each(Dnsmasq, lambda item: dnsmasq.ensure(item, self.dhcp_directory))
        self._each(MetadataListener, self.metadata.ensure)
        free = self._all_flows(state)
        # Only now would anybody hear it.
        self._tell_neighbours(touched)
        announcements, self._announcements = self._announcements, []
        self.repeat(announcements)
        self._instances()
        self._remove(tables)
        self._flows.free_numbers(free)
        self.trouble.update(self._links.look(state, self.there.links, self._running()))
        self.repairs.speak()
        return announcements

    def next_retry(self) -> float | None:
        """When (time.monotonic) the first failed object is due, None where none is."""
        due = [self.trouble.next_retry(), self.runs.next_retry()]
        return min((at for at in due if at is not None), default=None)

    def repeat(self, announcements: Iterable[tuple[Device, list[str]]]) -> None:
        """Send announcements; one that fails is only logged, the next audit will not send it again."""
        for device, addresses in announcements:
            try:
                namespaces.announce(device, addresses)
            except ApplyError as error:
                log.warning("%s", error)

    def _tell_neighbours(self, touched: Iterable[str]) -> None:
        """Tell who knew addresses that moved; ask anew from these namespaces, which were not heard before now."""
        try:
            self.switch.send(INTEGRATION_BRIDGE, self._neighbours.news(self._state))
            for name in sorted(touched):
                if ("namespace", name) in self.found:
                    namespaces.ask_again(name)
        except (ApplyError, OSError, ValueError) as error:
            log.warning("not all neighbours hear of a change: %s", error)

    def _wanted_mark(self, item: HostObject) -> str:
        if isinstance(item, Device):
            return namespaces.device_mark(item)
        return instance_mark(item) if isinstance(item, Instance) else fingerprint(item)

    def _differing(self, kind: type[T]) -> list[T]:
        """Objects of a kind that are not as wanted and not waiting for their retry."""
        due: list[T] = []
        for item in self._state.each(kind):
            mark = self._wanted_mark(item)
            there = self.found.get(item.key)
            if there == mark:
                # An instance that kept ending is not well before it has lived for a while.
                if kind is not Instance or self.trouble.is_due(item.key, mark):
                    self.trouble.pop(item.key, None)
                self.repairs.is_well(item.key, mark)
                continue
            if kind is not Instance:  # those end by themselves
                wait, why = self.repairs.pause(item, mark, there, self.trouble.now)
                if wait:
                    again = self.trouble.now + wait
                    self.trouble[item.key] = Trouble("pending", why, mark, again=again)
            if self.trouble.is_due(item.key, mark):
                due.append(item)
        return due

    def _done(self, item: HostObject) -> None:
        mark = self.found[item.key] = self._wanted_mark(item)
        self.repairs.is_well(item.key, mark)
        self.trouble.pop(item.key, None)
        self.changes += 1

    def _each(self, kind: type[T], ensure: Callable[[T], object]) -> None:
        for item in self._differing(kind):
            self._try(item, ensure)

    def _try(self, item: T, ensure: Callable[[T], object]) -> None:
        try:
            ensure(item)
        except (ApplyError, OSError) as error:
            self.trouble.fail(item.key, self._wanted_mark(item), str(error))
        except (ValueError, TypeError, KeyError) as error:
            # A mistake of ours, at something that this object holds: the others go on.
            words = f"{type(error).__name__}: {error}"
            self.trouble.fail(item.key, self._wanted_mark(item), words)
        else:
            self._done(item)

    def _switch_ports(self, wanted: Sequence[Bridge | Interface]) -> None:
        ours: list[Bridge | Interface] = []
        for item in wanted:
            if isinstance(item, Interface) and item.expected:
                self._expect(item, bridges.ofports(self.database))
            else:
                ours.append(item)
        if not ours:
            return
        failed = bridges.apply(self.database, ours, self.userspace)
        if self.userspace:
            self._shields.made(item.name for item in ours if item.key not in failed)
        for item in ours:
            if item.key in failed:
                self.trouble.fail(item.key, fingerprint(item), failed[item.key])
            else:
                if isinstance(item, Bridge):
                    self.there.flows.setdefault(item.name, set())
                if item.name == INTEGRATION_BRIDGE:
                    self._try(item, lambda new: self.switch.show_ports_of_fragments(new.name))
                else:
                    self._done(item)

    def _shield(self) -> None:
        if not self.userspace:
            return
        items = {item.name: item for item in self._state.each(Interface)}
        self._shields.ensure(items.values())
        for name, reason in self._shields.failed.items():
            self.trouble.fail(items[name].key, self._wanted_mark(items[name]), reason)

    def _expect(self, item: Interface, numbers: Mapping[str, int]) -> None:
        """Somebody else plugs it: it is there, or we wait for the database to say so."""
        if item.name in self._shields.failed:
            return
        if item.name in numbers:
            self.trouble.pop(item.key, None)
        else:
            self.trouble[item.key] = Trouble("pending", f"device {item.name} is not plugged")

    def _devices(self) -> set[str]:
        """Returns the namespaces whose devices were touched."""
        touched: set[str] = set()
        for item in self._differing(Device):

            def ensure(device: Device) -> None:
                try:
                    added = namespaces.ensure_device(device)
                except namespaces.DeviceGone:
                    self._let_go(device)
                    raise
                if device.announce and added:
                    self._announcements.append((device, added))

            self._try(item, ensure)
            touched.add(item.namespace)
            if item.key not in self.trouble:
                # Else its servers and ways would wait out the pauses of tries that could not but fail.
                network = item.namespace.removeprefix("qdhcp-")
                self.trouble.try_again(
                    key for key in self.trouble if key[1] in (network, item.namespace)
                )
        for name in touched:
            # A DHCP server may hold on to a device that is gone: it is looked at, and restarted if so.
            server = ("dnsmasq", name.removeprefix("qdhcp-"))
            self.found.pop(server, None)
            self.repairs.expect(server)
            for key in [key for key in self.found if key[0] in WAYS and key[1] == name]:
                self.repairs.expect(key)
            self.there.look_into(name)
        return touched

    def _beside(self) -> None:
        """Neighbours that are known, and the bound for the others."""
        bounds, come = self._differing(NeighbourBound), self._differing(Neighbour)
        failed, removed = beside.bring_about(self._state, bounds, come, self.found)
        for item in (*bounds, *come):
            if item.key in failed:
                self.trouble.fail(item.key, fingerprint(item), failed[item.key])
            else:
                self._done(item)
        for key in removed:
            del self.found[key]
            self.changes += 1

    def _let_go(self, device: Device) -> None:
        """Have the switch forget a device that somebody deleted, so that the retry makes it anew.

        Only the second time that it is missing: a switch that has just been started may be about to make it.
        """
        if device.key not in self.trouble:
            return
        lost = [item.key for item in self._state.each(Interface) if item.name == device.name]
        for key in lost:
            if key not in bridges.remove(self.database, [key], keep_device=True):
                self.found.pop(key, None)
                self.repairs.expect(key)

    def _all_flows(self, state: HostState) -> dict[str, set[str]]:
        """Bring about all flows; returns kind → names whose numbers no flow in the switch has any more."""
        numbers = self.there.numbers = bridges.ofports(self.database)
        # Looked for once more, in the very numbers that the flows get: a device that was plugged meanwhile is
        # no news any more when its news comes (`There.switch_moved`).
        for item in state.each(Interface):
            if item.expected:
                self._expect(item, numbers)
        before = self._flows.changes
        free = self._flows.bring_about(state)
        self.changes += self._flows.changes - before
        return free

    # --- instances -----------------------------------------------------------------------------

    def _running(self) -> set[str]:
        """Devices of the instances that run as they are wanted, but for a card perhaps."""
        return {
            nic.device
            for item in self._state.each(Instance)
            if item.power == "on"
            and self.found.get(item.key) in (UNPLUGGED, self._wanted_mark(item))
            for nic in item.nics
        }

    def _unplugged(self) -> None:
        """An instance that runs and has lost a card, which was made anew: it is given that as at its start."""
        running = self._running()
        there = link_names() if running else {}
        lost = {device for device in running if peer_name(device) in there}
        for item in self._state.each(Instance):
            if item.key in self.busy or not any(nic.device in lost for nic in item.nics):
                continue
            # The cards of an instance that has just ended are on the host as well: `watch` finds that.
            if self.instances.mark(item.server_id) == self._wanted_mark(item):
                self.found[item.key] = UNPLUGGED

    def _instances(self) -> None:
        """Start what shall run once its ports are ready; workers do it (`runs`)."""
        self.runs.cancel_unwanted()
        self._unplugged()
        wanted = self._differing(Instance)
        if not wanted:
            return
        bad: dict[str, str] = {}
        for key, trouble in self.trouble.items():
            for origin in trouble.blame or self._state.objects[key].origin:
                if key[0] != "instance" and origin.startswith("port/"):
                    bad.setdefault(origin, trouble.detail)
        ready: list[Instance] = []
        for item in wanted:
            if item.key in self.busy:
                continue
            # Fail closed: nothing runs before the rules of all its ports are in place.
            waits = next(
                (bad[f"port/{n.port_id}"] for n in item.nics if f"port/{n.port_id}" in bad), None
            )
            if waits is None:
                ready.append(item)
            else:
                self.trouble[item.key] = Trouble("pending", f"waits for its port: {waits}")
        numbers = {item.server_id: self.allocator.number("uids", item.server_id) for item in ready}
        try:
            self.allocator.save()
        except ApplyError as error:
            for item in ready:
                self.trouble.fail(item.key, self._wanted_mark(item), str(error))
            return
        for item in ready:
            self._start(item, numbers[item.server_id])

    def _start(self, item: Instance, number: int) -> None:
        mark = self._wanted_mark(item)
        old = self.trouble.get(item.key)
        # What went wrong is worth more than that it is tried again, unless something else is wanted now; an
        # instance that only lacks a card runs.
        fresh = old is None or old.mark != mark or not old.attempts
        if fresh and self.found.get(item.key) != UNPLUGGED:
            self.trouble[item.key] = Trouble("pending", "the instance is being started", mark)
        self.runs.start(item, number)

    # --- removing ------------------------------------------------------------------------------

    def _remove(self, tables: translation.NatTables) -> None:
        gone: dict[str, list[Key]] = defaultdict(list)
        for key in self.found:
            if key not in self._state.objects:
                gone[key[0]].append(key)
        self.runs.remove(gone["instance"])
        kept_ids = {
            key[1]
            for key in (*self.found, *self.busy, *self._state.objects)
            if key[0] == "instance"
        }
        self.allocator.keep("uids", kept_ids)
        for key in gone["metadata"]:
            self._drop(key, lambda k: self.metadata.remove(k[1]))
        for key in gone["dnsmasq"]:
            self._drop(key, lambda k: dnsmasq.remove(k[1], self.dhcp_directory))
        for key in gone["neighbour-bound"]:
            del self.found[key]  # goes with its namespace
        kept = {("namespace", item.name) for item in self._state.each(Namespace)}
        for key in gone["route"]:
            if ("namespace", key[1]) in kept:
                self._drop(key, lambda k: namespaces.remove_route(k[1], k[2]))
            else:
                del self.found[key]  # goes with its namespace
        for key in gone["device"]:
            if ("namespace", key[1]) in kept:
                self._drop(key, lambda k: namespaces.remove_device(k[1], k[2]))
            else:
                del self.found[key]
        for key in gone["nat"]:
            if key[1] not in tables:
                self._drop(key, lambda k: nat.remove(k[1]))
        for key in gone["namespace"]:
            self._drop(key, lambda k: namespaces.remove_namespace(k[1]))
        for kind in ("interface", "bridge"):
            failed = bridges.remove(self.database, gone[kind])
            for key in gone[kind]:
                if key in failed:
                    log.warning("%s stays: %s", " ".join(key), failed[key])
                else:
                    del self.found[key]
                    self.changes += 1
                    if kind == "bridge":
                        self.there.flows.pop(key[1], None)
        for _, name, device in gone["device"]:
            if ("namespace", name) in kept and (
                "interface",
                INTEGRATION_BRIDGE,
                device,
            ) not in self.found:
                self._delete_device(name, device)

    def _delete_device(self, namespace: str, device: str) -> None:
        """Where the switch was killed, its device outlives the port that it belonged to."""
        try:
            namespaces.delete_device(namespace, device)
        except ApplyError as error:
            log.warning("device %s of %s stays: %s", device, namespace, error)

    def _drop(self, key: Key, remove: Callable[[Key], object]) -> None:
        try:
            remove(key)
        except (ApplyError, OSError) as error:
            log.warning("%s stays: %s", " ".join(key), error)
        else:
            del self.found[key]
            self.changes += 1
