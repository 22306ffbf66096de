"""One host: the kinds of objects on it, put together, and what is told of changes by others.

`Tracker.reconcile` brings the host to a HostState; `reconcile/` says how. All else here answers an event with the smallest
look at the host that can tell what it means.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable
from pathlib import Path

from netloom.agent import status
from netloom.agent.links import linkless
from netloom.agent.neighbours import Neighbours as Arp
from netloom.agent.reconcile.kinds.flows import Flows
from netloom.agent.reconcile.kinds.groups import Groups
from netloom.agent.reconcile.kinds.inside import KERNEL, WAYS, Devices, Namespaces, Routes
from netloom.agent.reconcile.kinds.instances import Runs
from netloom.agent.reconcile.kinds.meters import Meters
from netloom.agent.reconcile.kinds.nat import Nats
from netloom.agent.reconcile.kinds.neighbours import Neighbours
from netloom.agent.reconcile.kinds.programs import Programs
from netloom.agent.reconcile.kinds.replicas import ConnectionSyncs, Keepaliveds
from netloom.agent.reconcile.kinds.services import Advertisers, DhcpServers, Metadata
from netloom.agent.reconcile.kinds.switch import Bridges, Interfaces
from netloom.agent.reconcile.kinds.zones import Zones
from netloom.agent.reconcile.reconciler import Finding, Reconciler
from netloom.agent.reconcile.repairs import Repairs
from netloom.agent.reconcile.retry import Trouble, Troubles
from netloom.agent.shields import Shields
from netloom.agent.workers import Workers
from netloom.dataplane.linux import dnsmasq, namespaces, netns, watch
from netloom.dataplane.linux.netlink import links_by_name
from netloom.dataplane.mark import broken
from netloom.dataplane.ovs import bridges
from netloom.dataplane.ovs.allocator import Allocator, InDatabase
from netloom.dataplane.ovs.flowwatch import Change, Command, FlowWatch
from netloom.dataplane.ovs.groups import GroupTable
from netloom.dataplane.ovs.meters import MeterTable
from netloom.dataplane.ovs.openflow import Switch
from netloom.dataplane.ovs.ovsdb import Ovsdb
from netloom.dataplane.process import ApplyError
from netloom.instances.instances import Instances
from netloom.metadata.listener import MetadataServer
from netloom.model.hosts import ACTIVE_HERE, STANDBY_HERE
from netloom.model.hoststate import (
    TUNNEL_LINKS,
    Device,
    Dnsmasq,
    Flow,
    HostState,
    Interface,
    Keepalived,
    Key,
    StateDelta,
)
from netloom.model.names import INTEGRATION_BRIDGE
from netloom.model.networking import Router

__all__ = ["Tracker", "Trouble"]

log = logging.getLogger(__name__)

MOST_FOREIGN = 3
"""Foreign things that the status names; the rest is a number, and `netloom doctor` names all."""


class Tracker:
    """What is there on this host, and the trouble with it. Used by the reconcile thread alone.

    `ended` is called from another thread when a keepalived has ended.
    """

    def __init__(
        self,
        database: Ovsdb,
        switch: Switch,
        groups: GroupTable,
        flow_watch: FlowWatch,
        metadata: MetadataServer,
        instances: Instances,
        workers: Workers,
        *,
        run_dir: Path,
        userspace: bool,
        connections_per_port: int,
        ended: Callable[[], None] = lambda: None,
        tunnel_ip: str | None = None,
    ) -> None:
        self.database = database
        self.switch = switch
        self._flow_watch = flow_watch
        self.workers = workers
        self.userspace = userspace
        self._allocator = Allocator(InDatabase(database))
        self.runs = Runs(instances, workers, self._allocator, lambda: self.reconciler)
        self._shields = Shields(database) if userspace else None
        self._interfaces = Interfaces(database, self._shields, self.runs.made)
        self._groups = Groups(
            database, groups, lambda: self.reconciler.look_at("flow"), self._groups_made
        )
        self._flows = Flows(
            database,
            switch,
            self._allocator,
            has_bridge=lambda name: self.reconciler.mark_there(("bridge", name)) is not None,
            item=self._flow,
            interfaces=self._interfaces.wanted,
        )
        self._dhcp = DhcpServers(run_dir / "dhcp")
        self._advertisers = Advertisers(run_dir / "ra")
        self._tunnel_ip = tunnel_ip
        self._keepaliveds = Keepaliveds(run_dir / "ha", lambda _namespace: ended(), self._cut_links)
        self._syncs = ConnectionSyncs(run_dir / "sync")
        self._devices = Devices(
            self._disturbed, self._let_go, self._come, lambda name: self._has_port(name)
        )
        self.reconciler = Reconciler(
            [
                Bridges(database, switch, userspace, self._bridge_made),
                self._interfaces,
                Namespaces(),
                Nats(),
                self._devices,
                Routes(),
                Neighbours(),
                self._keepaliveds,
                self._syncs,
                self._dhcp,
                self._advertisers,
                Metadata(metadata),
                self._groups,
                Meters(database, MeterTable(switch.rundir), self._allocator),
                Zones(switch, self._allocator, connections_per_port, self._flows.left),
                self._flows,
                self.runs,
            ],
            told=self._told,
        )
        self._begin()

    def _begin(self) -> None:
        """What is known of the host before it was looked at: nothing."""
        self._link_states: dict[str, str] = {}
        self._linkless: dict[Key, Trouble] = {}  # of objects that are as wanted
        self._arp = Arp()
        self._rows = status.Rows()
        self._identities: dict[str, int] = {}
        self._touched: set[str] = set()
        self._announcements: list[tuple[Device, list[str]]] = []

    @property
    def trouble(self) -> Troubles:
        """What is not as wanted."""
        return self.reconciler.trouble

    @property
    def repairs(self) -> Repairs:
        """What others damaged and was put right."""
        return self.reconciler.repairs

    @property
    def changes(self) -> int:
        """How many objects were made, changed and removed so far."""
        return self.reconciler.changes

    @property
    def dirty(self) -> bool:
        """Whether a worker has finished since the last pass."""
        return self.runs.finished

    @property
    def busy(self) -> dict[Key, str]:
        """Objects that workers are at."""
        return self.runs.busy

    @property
    def connected(self) -> bool:
        """Whether there is a connection to the switch's database."""
        return self.database.connected

    # --- what is there -------------------------------------------------------------------------

    def read(self, state: HostState) -> None:
        """Look at everything of ours on this host, of which `state` is wanted from now on.

        Raises ApplyError where Open vSwitch is not there.
        """
        if not self.database.connected:
            self.database.connect()
        self._allocator.load()
        if self._shields is not None:
            self._shields.look_again()
        # First: what changes while it is read is told of afterwards.
        self._flow_watch.follow(bridges.ours(self.database))
        self.want(state)
        self._link_states = bridges.link_states_of(self.database, links_by_name())
        self._keepaliveds.tell_links()
        self.reconciler.read()

    def _cut_links(self) -> dict[str, bool]:
        """Links of this host that HA routers depend on → whether they are cut."""
        cards: dict[str, list[str]] = {}
        for item in self._interfaces.wanted.values():
            if item.type in ("system", "bond"):
                cards.setdefault(item.bridge, []).extend(item.devices)
        cards[TUNNEL_LINKS] = bridges.cards_of(self.database, self._tunnel_ip)
        states = self._link_states
        return {
            name: bool(some) and all(states.get(card, "up") != "up" for card in some)
            for name, some in cards.items()
        }

    def switch_moved(self) -> bool:
        """Take in what the database says now of bridges and ports; true if that is not as we left it."""
        links = links_by_name()
        states = bridges.link_states_of(self.database, links)
        moved = states != self._link_states
        self._link_states = states
        if moved:
            self._keepaliveds.tell_links()
        moved = self.reconciler.look_at("bridge", "interface", links=links) or moved
        if self._allocator.lost("zone"):
            self._allocator.load()
            moved = self.reconciler.look_at("zone") or moved
        return self._flows.moved() or moved

    def taken_away(self, ids: frozenset[int]) -> bool:
        """Look again at namespaces that something is gone from; true where they are not as we left them."""
        moved = watch.HERE in ids and self.switch_moved()
        known = watch.names()
        ours = {key[1] for key, _ in self.reconciler.there("namespace")}
        gone = {name for name in ours if not netns.exists(name)}
        some = gone | ours & {known[n] for n in ids if n in known}
        moved = self._replicas_moved(some) or moved
        return self.reconciler.look_into(some, None if gone else KERNEL) or moved

    def _replicas_moved(self, namespaces: Iterable[str]) -> bool:
        """Look whether HA routers became active here, or stopped to be; true where one did."""
        news = False
        for name in namespaces:
            item = self.reconciler.state.objects.get(("keepalived", name))
            if not isinstance(item, Keepalived):
                continue
            moved, wrong = self._keepaliveds.look_at(item)
            if moved:
                news = True
                # With its last address a device loses what it knows of its neighbours; nobody damaged that.
                for key, _ in list(self.reconciler.there("neighbour")):
                    if key[1] == name:
                        self.repairs.expect(key)
            elif wrong and self.reconciler.is_well(item.key):
                self.reconciler.note(item.key, wrong)
                news = True
        return news

    def tables_changed(self, ids: frozenset[int]) -> bool:
        """Look again at nftables of these namespaces, which others changed."""
        if watch.HERE in ids and self._shields is not None:
            self._shields.look_again()
            if self.reconciler.look_at("interface"):
                return True
        known = watch.names()
        ours = {key[1] for key, _ in self.reconciler.there("namespace")}
        return self.reconciler.look_into(ours & {known[n] for n in ids if n in known})

    def flows_changed(self, bridge: str, changes: list[Change]) -> bool:
        """Look again at flows that the switch tells of; true where they are not as we left them."""
        if bridge not in bridges.ours(self.database):
            return False
        fresh, foreign = self._flows.look_again(bridge, changes, self.reconciler.marks("flow"))
        for key, mark in fresh.items():
            self.reconciler.note(key, mark)
        if None in fresh.values():
            self.reconciler.look_at("meter")  # with a meter that somebody removes its flows go
        if foreign is None:
            return bool(fresh)
        return self._foreign_now(bridge, foreign) or bool(fresh)

    def _foreign_now(self, bridge: str, flows: dict[Key, str]) -> bool:
        """Take down which flows of a bridge are foreign; true where they are others than before."""
        before = self.reconciler.foreign
        kept = {key: why for key, why in before.items() if key[:2] != ("flow", bridge)}
        self.reconciler.foreign = kept | flows
        return self.reconciler.foreign != before

    def groups_changed(self, bridge: str, commands: list[Command]) -> bool:
        """Look again at groups that the switch tells of; true where others changed something."""
        return self._groups.others_changed(bridge, commands) and self.reconciler.look_at("group")

    def replaced(self) -> bool:
        """Look whether the name of each namespace still leads to where it led; true where one does not.

        The kernel does not tell of it: what goes with a namespace is no news, and one that a process or socket is in
        stays behind whole, without its name.
        """
        before = self._identities
        names = [key[1] for key, _ in self.reconciler.there("namespace")]
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

    def watch(self) -> bool:
        """Look whether what may end by itself still lives; true where it does not."""
        moved = self._ended(self._dhcp, self._advertisers, self._keepaliveds, self._syncs)
        return self.runs.look() or moved

    def replicas_ended(self) -> bool:
        """Look whether what replicas of HA routers need still lives; true where it does not."""
        return self._ended(self._keepaliveds, self._syncs)

    def _ended(self, *kinds: Programs) -> bool:
        """Look whether programs still live, with the files that they were given; true where one does not."""
        moved = False
        for kind in kinds:
            alive = kind.alive()
            for key, mark in list(self.reconciler.there(kind.name)):
                if not self.reconciler.is_well(key):
                    continue
                item = self.reconciler.state.objects[key]
                now = alive.get(key) if alive.get(key) != mark else kind.touched(item) or mark
                if now != mark:
                    self.reconciler.note(key, now)
                    moved = True
        return moved

    # --- bringing it about ---------------------------------------------------------------------

    def reconcile(self, state: HostState) -> list[tuple[Device, list[str]]]:
        """Bring the host to `state` as far as it goes; what did not go is in `trouble` afterwards.

        Returns the addresses announced by gratuitous ARP, to be announced once more a little later.
        """
        self.runs.finished = False
        self.want(state)
        self.reconciler.reconcile()
        announcements, self._announcements = self._announcements, []
        self._devices.remove_dead()
        self._flows.free_numbers()
        self._replaced_foreign()
        self.runs.tidy()
        if self._shields is not None:
            self._shields.tidy()
        self._linkless = self._without_link(self._interfaces.wanted.values())
        return announcements

    def _without_link(self, wanted: Iterable[Interface]) -> dict[Key, Trouble]:
        return linkless(wanted, self._link_states, self.runs.running())

    def _replaced_foreign(self) -> None:
        """Foreign flows in whose place ours stand now are no trouble any more.

        A switch that was started again gives each physical bridge such a flow.
        """
        foreign = {key[1] for key in self.reconciler.foreign if key[0] == "flow"}
        for bridge in self._flows.written() & foreign:
            try:
                self._foreign_now(bridge, self._flows.foreign(bridge))
            except (ApplyError, OSError) as error:
                log.warning("foreign flows of %s are known at the next audit: %s", bridge, error)

    def findings(self) -> list[Finding]:
        """What differs as of the last look, and what is foreign."""
        return self.reconciler.findings()

    def repair(self, state: HostState, findings: Iterable[Finding]) -> None:
        """Repair what was found now, whatever pauses it waits for."""
        for item in findings:
            self.repairs.expect(item.key)
            self.trouble.try_again([item.key])
            self.reconciler.leaving.try_again([item.key])
        self.repeat(self.reconcile(state))

    def foreign(self) -> str:
        """What is in places of ours and is not, as one line; empty where there is nothing."""
        said = sorted(self.reconciler.foreign.values())
        more = f" and {len(said) - MOST_FOREIGN} more" if len(said) > MOST_FOREIGN else ""
        return "; ".join(said[:MOST_FOREIGN]) + more

    def want(
        self, state: HostState, before: HostState | None = None, delta: StateDelta | None = None
    ) -> None:
        """Set what shall be on this host from now on. `delta`: the step to it from `before`, where that is known."""
        news = self.reconciler.want(state, before, delta)
        if news:
            self._rows.follow(news)
            self._arp.follow(news)

    def rows(self) -> dict[status.Row, status.Said]:
        """What is said of each object of the API."""
        unreached = self.reconciler.unreached()
        rows = self._rows.said({**self._linkless, **unreached, **self.trouble})
        for name, active in self._keepaliveds.active.items():
            item = self.reconciler.state.objects.get(("keepalived", name))
            if isinstance(item, Keepalived):
                rows[Router.KIND, item.router_id, "ha"] = (
                    "ok",
                    ACTIVE_HERE if active else STANDBY_HERE,
                )
        return rows

    def next_retry(self) -> float | None:
        """When (time.monotonic) the first failed object is due, None where none is."""
        due = [self.reconciler.next_retry(), self.runs.next_retry()]
        return min((at for at in due if at is not None), default=None)

    def repeat(self, announcements: Iterable[tuple[Device, list[str]]]) -> None:
        """Send announcements; one that fails is only logged, the next audit will not send it again."""
        for device, addresses in announcements:
            try:
                namespaces.announce(device, addresses)
            except ApplyError as error:
                log.warning("%s", error)

    # --- what follows from a change of one kind for others --------------------------------------

    def _told(self, kind: str) -> None:
        """A kind's turn is over: once flows stand, all who knew addresses otherwise can hear of it."""
        if kind != self._flows.name:
            return
        touched, self._touched = self._touched, set()
        try:
            self.switch.send(INTEGRATION_BRIDGE, self._arp.frames())
            for name in sorted(touched):
                if self.reconciler.mark_there(("namespace", name)) is not None:
                    namespaces.ask_again(name)
        except (ApplyError, OSError, ValueError) as error:
            log.warning("not all neighbours hear of a change: %s", error)
        self.repeat(self._announcements)

    def _bridge_made(self, name: str) -> None:
        """A bridge that is new has neither flows nor groups."""
        self._groups.forget_bridge(name)
        for key, _ in list(self.reconciler.there("flow", "group", "bucket", "meter")):
            if key[1] == name:
                self.repairs.expect(key)
                self.reconciler.note(key, None)
        self._flow_watch.follow([name])

    def _groups_made(self) -> None:
        """Flows that name them were refused until now."""
        self.trouble.try_again(key for key in self.trouble if key[0] == "flow")

    def _flow(self, key: Key) -> Flow:
        item = self.reconciler.state.objects[key]
        assert isinstance(item, Flow)
        return item

    def _has_port(self, device: str) -> bool:
        return self.reconciler.mark_there(("interface", INTEGRATION_BRIDGE, device)) is not None

    def _come(self, device: Device, addresses: list[str]) -> None:
        self._announcements.append((device, addresses))

    def _disturbed(self, namespace: str, well: bool) -> None:
        """Devices of a namespace were touched; `well`: at least one of them is as wanted now."""
        self._touched.add(namespace)
        network = namespace.removeprefix("qdhcp-")
        if well:
            # Else its servers and ways would wait out the pauses of tries that could not but fail.
            self.trouble.try_again(
                key for key in self.trouble if key[1] in (network, namespace) and key[0] != "device"
            )
        # A DHCP server may hold on to a device that is gone: then it is restarted.
        key = ("dnsmasq", network)
        server = self.reconciler.state.objects.get(key)
        if (
            isinstance(server, Dnsmasq)
            and self.reconciler.mark_there(key) is not None
            and not dnsmasq.is_on_device(server, self._dhcp.directory)
        ):
            self.repairs.expect(key)
            self.reconciler.note(key, broken("its device was made anew"))
        for key, _ in list(self.reconciler.there(*WAYS)):
            if key[1] == namespace:
                self.repairs.expect(key)
        self.reconciler.look_into({namespace}, WAYS)

    def _let_go(self, device: Device) -> None:
        """Have the switch forget a device that somebody deleted, so that the retry makes it anew.

        Only the second time that it is missing: a switch that has just been started may be about to make it.
        """
        if device.key not in self.trouble:
            return
        item = self._interfaces.wanted.get(device.name)
        if item is not None and self._interfaces.let_go(item.key):
            self.repairs.expect(item.key)
            self.reconciler.note(item.key, None)
