"""One delta tracker for all kinds of objects: what is wanted, what is there, the smallest change.

`Tracker.reconcile` brings the host to a HostState in this order: bridges, interfaces, namespaces, new
NAT, devices, routes, the rest of NAT, DHCP, metadata, then all flow changes of a bridge in one bundle, then
instances; after that it removes what is no longer wanted, in reverse. An object that fails is retried with growing
pauses and never stops the others.
"""

from __future__ import annotations

import logging
import time
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import TypeVar

from msgspec import Struct

from netloom.agent.flows import number_flows
from netloom.agent.metadata import MetadataServer
from netloom.agent.neighbours import Neighbours
from netloom.agent.runs import Runs
from netloom.agent.shields import Shields
from netloom.agent.workers import Workers
from netloom.dataplane import bridges, dnsmasq, namespaces, nat, netns, watch
from netloom.dataplane.allocator import Allocator
from netloom.dataplane.mark import fingerprint
from netloom.dataplane.openflow import Switch
from netloom.dataplane.ovsdb import Ovsdb
from netloom.dataplane.process import ApplyError
from netloom.instances.instances import Instances, instance_mark
from netloom.model.hoststate import (
    Bridge,
    Device,
    Dnsmasq,
    FloatingNat,
    HostObject,
    HostState,
    Instance,
    Interface,
    Key,
    MetadataListener,
    Namespace,
    NsRoute,
    SourceNat,
)
from netloom.model.names import INTEGRATION_BRIDGE

T = TypeVar("T", bound=HostObject)
NatTables = dict[str, tuple[list[FloatingNat], list[SourceNat]]]
"""Router's namespace → what it translates."""

log = logging.getLogger(__name__)

_INSIDE = ("namespace", "device", "route")
"""Kinds that `namespaces.read_namespace` finds."""
FIRST_PAUSE = 0.5
LONGEST_PAUSE = 30.0
"""Seconds until a failed object is tried again: doubled from the first to the longest."""


class Trouble(Struct):
    """Why an object is not as wanted.

    `state`: `pending` or `error`; `mark`: of the version that failed; `again`: when to retry it
    (time.monotonic), 0 where an event will tell. `blame`: the origins that it is the fault of, where that
    is not all of the object's: a network is well though one of its ports is not plugged.
    """

    state: str
    detail: str
    mark: str = ""
    attempts: int = 0
    again: float = 0.0
    blame: tuple[str, ...] | None = None


class Tracker:
    """What is there on this host, and the trouble with it. Used by the reconcile thread alone."""

    def __init__(
        self,
        database: Ovsdb,
        switch: Switch,
        metadata: MetadataServer,
        instances: Instances,
        workers: Workers,
        *,
        run_dir: Path,
        userspace: bool,
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
        self.found: dict[Key, str] = {}
        self.flows: dict[str, set[int]] = {}
        self.trouble: dict[Key, Trouble] = {}
        self.busy: dict[Key, str] = {}
        self.changes = 0
        self.dirty = False
        self._now = 0.0
        self._numbers: dict[str, int] = {}
        self._shields = Shields(database)
        self._neighbours = Neighbours()
        self._state = HostState()
        self._announcements: list[tuple[Device, list[str]]] = []

    @property
    def state(self) -> HostState:
        """What shall be, as of the last `reconcile`."""
        return self._state

    # --- what is there -------------------------------------------------------------------------

    def read(self) -> None:
        """Look at everything of ours on this host; raises ApplyError where Open vSwitch is not there."""
        if not self.database.connected:
            self.database.connect()
        self.allocator.load()
        listening = {("metadata", network_id) for network_id in self.metadata.networks()}
        listeners = {key: self.found.get(key, "") for key in listening}
        self.found = (
            bridges.read(self.database) | namespaces.read() | dnsmasq.read(self.dhcp_directory)
        )
        self.found |= self.instances.read()
        self.found |= listeners
        for key in [
            key for key in self.found if key[0] == "namespace" and key[1].startswith("qrouter-")
        ]:
            mark = nat.read(key[1])
            if mark is not None:
                self.found["nat", key[1]] = mark
        self.flows = {key[1]: self.switch.read(key[1]) for key in self.found if key[0] == "bridge"}
        if self.userspace:
            self._shields.read()

    def switch_moved(self) -> bool:
        """Take in what the database says now of bridges and ports; true if that is not as we left it."""
        fresh, numbers = bridges.read(self.database), bridges.ofports(self.database)
        before = {
            key: mark for key, mark in self.found.items() if key[0] in ("bridge", "interface")
        }
        if fresh == before and numbers == self._numbers:
            return False
        self._replace(("bridge", "interface"), fresh)
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
            before = {
                key: mark
                for key, mark in self.found.items()
                if key[1] == name and key[0] in _INSIDE
            }
            if fresh != before:
                self.found = {
                    key: mark for key, mark in self.found.items() if key not in before
                } | fresh
                moved = True
        return moved

    def watch(self) -> bool:
        """Look whether what may end by itself still lives; true where it does not."""
        alive = dnsmasq.read(self.dhcp_directory) | self.instances.read()
        alive = {key: mark for key, mark in alive.items() if key not in self.busy}
        before = {
            key: mark
            for key, mark in self.found.items()
            if key[0] in ("dnsmasq", "instance") and key not in self.busy
        }
        if alive == before:
            return False
        for item in self._state.each(Instance):
            if before.get(item.key) == instance_mark(item) and not alive.get(item.key):
                self.runs.ended(item)
        self._replace(("dnsmasq", "instance"), alive)
        return True

    def _replace(self, kinds: tuple[str, ...], fresh: dict[Key, str]) -> None:
        self.found = {key: mark for key, mark in self.found.items() if key[0] not in kinds} | fresh

    # --- bringing it about ---------------------------------------------------------------------

    def reconcile(self, state: HostState) -> list[tuple[Device, list[str]]]:
        """Bring the host to `state` as far as it goes; what did not go is in `trouble` afterwards.

        Returns the addresses announced by gratuitous ARP, to be announced once more a little later.
        """
        self._now = time.monotonic()
        self.dirty = False
        self._state = state
        self.trouble = {key: value for key, value in self.trouble.items() if key in state.objects}
        self._switch_ports(self._differing(Bridge))
        self._switch_ports(self._differing(Interface))
        self._shield()
        self._each(Namespace, namespaces.ensure_namespace)
        # A router answers itself at an address that no NAT leads on from, and remembers that it did: a floating
        # IP's NAT is there before its address and goes after it.
        tables = self._nat_tables()
        self._nat(tables, early=True)
        touched = self._devices()
        self._each(NsRoute, namespaces.ensure_route)
        self._nat(tables, early=False)
        self._each(Dnsmasq, lambda item: dnsmasq.ensure(item, self.dhcp_directory))
        self._each(MetadataListener, self.metadata.ensure)
        free = self._all_flows()
        # Only now would anybody hear it.
        self._tell_neighbours(touched)
        announcements, self._announcements = self._announcements, []
        self.repeat(announcements)
        self._instances()
        self._remove(tables)
        self._free_numbers(free)
        return announcements

    def next_retry(self) -> float | None:
        """When (time.monotonic) the first failed object is due, None where none is."""
        due = [item.again for item in self.trouble.values() if item.again]
        left = self.runs.next_retry()
        return min([*due, left] if left else due, default=None)

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
        except (ApplyError, OSError) as error:
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
            old = self.trouble.get(item.key)
            if self.found.get(item.key) == mark:
                # An instance that kept ending is not well before it has lived for a while.
                if not (kind is Instance and old is not None and self._now < old.again):
                    self.trouble.pop(item.key, None)
                continue
            if old is None or old.mark != mark or self._now >= old.again:
                due.append(item)
        return due

    def fail(self, key: Key, mark: str, detail: str) -> None:
        """Note that an object of this mark failed just now; it is tried again after a pause that grows."""
        self._now = time.monotonic()
        self._fail(key, mark, detail)

    def _fail(self, key: Key, mark: str, detail: str, state: str = "error") -> None:
        old = self.trouble.get(key)
        attempts = old.attempts + 1 if old is not None and old.mark == mark else 1
        pause = min(LONGEST_PAUSE, FIRST_PAUSE * 2 ** (attempts - 1))
        if old is None or old.detail != detail:
            log.warning("%s: %s", " ".join(key), detail)
        self.trouble[key] = Trouble(state, detail, mark, attempts, self._now + pause)

    def wait(self, key: Key, mark: str, detail: str, until: float) -> None:
        """Note that an object of this mark is not well, and is left alone until then (time.monotonic)."""
        log.warning("%s: %s", " ".join(key), detail)
        self.trouble[key] = Trouble("error", detail, mark, 1, until)

    def _done(self, item: HostObject) -> None:
        self.found[item.key] = self._wanted_mark(item)
        self.trouble.pop(item.key, None)
        self.changes += 1

    def _each(self, kind: type[T], ensure: Callable[[T], object]) -> None:
        for item in self._differing(kind):
            self._try(item, ensure)

    def _try(self, item: T, ensure: Callable[[T], object]) -> None:
        try:
            ensure(item)
        except (ApplyError, OSError) as error:
            self._fail(item.key, self._wanted_mark(item), str(error))
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
                self._fail(item.key, fingerprint(item), failed[item.key])
            else:
                self._done(item)
                if isinstance(item, Bridge):
                    self.flows.setdefault(item.name, set())

    def _shield(self) -> None:
        if not self.userspace:
            return
        items = {item.name: item for item in self._state.each(Interface)}
        self._shields.ensure(items.values())
        for name, reason in self._shields.failed.items():
            self._fail(items[name].key, self._wanted_mark(items[name]), reason)

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
        for name in touched:
            # A DHCP server may hold on to a device that is gone: it is looked at, and restarted if so.
            self.found.pop(("dnsmasq", name.removeprefix("qdhcp-")), None)
            # The kernel drops routes when addresses go or a device is put down.
            fresh = namespaces.read_namespace(name) if ("namespace", name) in self.found else {}
            self.found = {
                key: mark for key, mark in self.found.items() if key[0] != "route" or key[1] != name
            }
            self.found |= {key: mark for key, mark in fresh.items() if key[0] == "route"}
        return touched

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

    def _nat_tables(self) -> NatTables:
        tables: NatTables = defaultdict(lambda: ([], []))
        for item in self._state.each(FloatingNat):
            tables[item.namespace][0].append(item)
        for item in self._state.each(SourceNat):
            tables[item.namespace][1].append(item)
        return tables

    def _nat(self, tables: NatTables, early: bool) -> None:
        """One table a namespace: its objects succeed or fail together. `early`: takes no floating IP away yet."""
        for name, (floating, source) in sorted(tables.items()):
            members = [*floating, *source]
            _, mark = nat.marked_ruleset(floating, source)
            old = self.trouble.get(members[0].key)
            if self.found.get(("nat", name)) == mark:
                for item in members:
                    self.trouble.pop(item.key, None)
            elif old is None or old.mark != mark or self._now >= old.again:
                try:
                    there = nat.apply(name, floating, source, keep=early)
                except ApplyError as error:
                    for item in members:
                        self._fail(item.key, mark, str(error))
                else:
                    self.found["nat", name] = there
                    self.changes += there == mark
                    for item in members:
                        self.trouble.pop(item.key, None)

    # --- flows ---------------------------------------------------------------------------------

    def _all_flows(self) -> dict[str, set[str]]:
        """Bring about all flows; returns kind → names whose numbers no flow in the switch has any more."""
        numbers = self._numbers = bridges.ofports(self.database)
        # Looked for once more, in the very numbers that the flows get: a device that was plugged meanwhile is
        # no news any more when its news comes (`switch_moved`).
        for item in self._state.each(Interface):
            if item.expected:
                self._expect(item, numbers)

        flows = number_flows(self._state, numbers, self.allocator)
        owners = {item.name: item.origin for item in self._state.each(Interface)}
        for key, device in flows.missing.items():
            self.trouble[key] = Trouble(
                "pending", f"device {device} is not plugged", blame=owners.get(device)
            )
        try:
            self.allocator.save()
        except ApplyError as error:
            for key in flows.keys.values():
                self._fail(key, "", str(error))
            return {}
        for name in sorted({*flows.texts, *self.flows}):
            self._flows_of(name, flows.texts.get(name, {}), flows.keys)
        if any(there - flows.texts.get(name, {}).keys() for name, there in self.flows.items()):
            return {}
        return {kind: self.allocator.names(kind) - names for kind, names in flows.used.items()}

    def _free_numbers(self, free: Mapping[str, set[str]]) -> None:
        """Free the numbers that no flow in the switch names any more.

        Until then packets filled their zones: only now are these emptied, for whoever gets the number next.
        """
        try:
            for name in free.get("zone", ()):
                self.switch.forget_connections(self.allocator.number("zone", name))
            for kind, names in free.items():
                self.allocator.keep(kind, self.allocator.names(kind) - names)
            self.allocator.save()
        except ApplyError as error:
            log.warning("numbers stay in use: %s", error)  # until flows are looked at next

    def _flows_of(self, bridge: str, wanted: dict[int, str], keys: dict[int, Key]) -> None:
        there = self.flows.get(bridge)
        if there is None:
            for number in wanted:
                self._fail(keys[number], "", f"bridge {bridge} is not there")
            return
        for number in wanted.keys() & there:
            self.trouble.pop(keys[number], None)
        add: dict[int, str] = {}
        for number, text in wanted.items():
            if number not in there:
                old = self.trouble.get(keys[number])
                if old is None or old.mark != text or self._now >= old.again:
                    add[number] = text
        gone = there - wanted.keys()
        failed = self.switch.apply(bridge, add, gone)
        self.changes += len(add) + len(gone)
        for number, text in add.items():
            if number in failed:
                self._fail(keys[number], text, failed[number])
            else:
                there.add(number)
                self.trouble.pop(keys[number], None)
        there -= gone - failed.keys()

    # --- instances -----------------------------------------------------------------------------

    def _instances(self) -> None:
        """Start what shall run once its ports are ready; workers do it (`runs`)."""
        self.runs.cancel_unwanted()
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
                self._fail(item.key, self._wanted_mark(item), str(error))
            return
        for item in ready:
            self._start(item, numbers[item.server_id])

    def _start(self, item: Instance, number: int) -> None:
        mark = self._wanted_mark(item)
        attempts = self.trouble[item.key].attempts if item.key in self.trouble else 0
        if not attempts:  # else what went wrong is worth more than that it is tried again
            self.trouble[item.key] = Trouble("pending", "the instance is being started", mark)
        self.runs.start(item, number)

    # --- removing ------------------------------------------------------------------------------

    def _remove(self, tables: NatTables) -> None:
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
                        self.flows.pop(key[1], None)
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
