"""A host with Linux bridges: its kinds of objects, and what events mean for them. All else is as in `Tracker`."""

from __future__ import annotations

import logging
from collections.abc import Callable
from pathlib import Path

from netloom.agent.reconcile.kinds.bridge_filter import BridgeFilters
from netloom.agent.reconcile.kinds.inside import Devices, Namespaces, Routes
from netloom.agent.reconcile.kinds.instances import Runs
from netloom.agent.reconcile.kinds.linux_bridges import BridgePorts, FdbEntries, LinuxBridges
from netloom.agent.reconcile.kinds.nat import Nats
from netloom.agent.reconcile.kinds.neighbours import Neighbours
from netloom.agent.reconcile.kinds.replicas import ConnectionSyncs, Keepaliveds
from netloom.agent.reconcile.kinds.services import Advertisers, DhcpServers, Metadata
from netloom.agent.reconcile.reconciler import Reconciler
from netloom.agent.settings import AgentSettings
from netloom.agent.tracker import Tracker
from netloom.agent.workers import Workers
from netloom.dataplane.linux import namespaces, watch
from netloom.dataplane.linux.netlink import arp_request, holder_of, links_by_name, send_frame
from netloom.dataplane.linux.notes import InFile
from netloom.dataplane.ovs.allocator import Allocator
from netloom.dataplane.process import ApplyError
from netloom.instances.instances import Instances
from netloom.metadata.listener import MetadataServer
from netloom.model.filtering import PortFilter
from netloom.model.hosts import HostFacts
from netloom.model.hoststate import TUNNEL_LINKS, Device, HostState
from netloom.render.bridge_filter import UNASKED

log = logging.getLogger(__name__)


class BridgeTracker(Tracker):
    """`ended` is called from another thread when a keepalived has ended."""

    def __init__(  # pyright: ignore[reportMissingSuperCall]
        self,
        facts: HostFacts,
        settings: AgentSettings,
        metadata: MetadataServer,
        instances: Instances,
        workers: Workers,
        ended: Callable[[], None],
    ) -> None:
        run_dir = Path(settings.run_dir)
        self.userspace = False
        self.workers = workers
        self._facts = facts
        self._allocator = Allocator(InFile(settings.state / "numbers.json"))
        self.runs = Runs(instances, workers, self._allocator, lambda: self.reconciler)
        self._fresh: list[str] = []  # devices that were made in this pass
        self._ports = BridgePorts(self._made)
        self._dhcp = DhcpServers(run_dir / "dhcp")
        self._advertisers = Advertisers(run_dir / "ra")
        self._keepaliveds = Keepaliveds(run_dir / "ha", lambda _namespace: ended(), self._cut_links)
        self._syncs = ConnectionSyncs(run_dir / "sync")
        self._devices = Devices(self._disturbed, self._let_go, self._come, lambda _name: True)
        self.reconciler = Reconciler(
            [
                BridgeFilters(self._allocator),
                LinuxBridges(),
                self._ports,
                FdbEntries(self._ports),
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
                self.runs,
            ],
            told=self._told,
        )
        self._begin()

    @property
    def connected(self) -> bool:
        """The kernel is always there."""
        return True

    def read(self, state: HostState) -> None:
        """Look at everything of ours on this host, of which `state` is wanted from now on."""
        self._allocator.load()
        self.want(state)
        self._link_states = self._states()
        self._keepaliveds.tell_links()
        self.reconciler.read()

    def _states(self) -> dict[str, str]:
        cards = {*self._facts.physical_interfaces.values(), *self._tunnel_cards()}
        names = cards | self._ports.wanted.keys()
        return {name: link.state for name, link in links_by_name().items() if name in names}

    def _tunnel_cards(self) -> list[str]:
        found = holder_of(self._facts.tunnel_ip) if self._facts.tunnel_ip else None
        return [found[0]] if found else []

    def _cut_links(self) -> dict[str, bool]:
        states = self._link_states
        cards = {bridge: [card] for bridge, card in self._facts.physical_interfaces.items()}
        cards[TUNNEL_LINKS] = self._tunnel_cards()
        return {
            name: bool(some) and all(states.get(card, "up") != "up" for card in some)
            for name, some in cards.items()
        }

    def switch_moved(self) -> bool:
        """Take in what the kernel says now of bridges and the devices in them; true if that is not as we left it."""
        states = self._states()
        moved = states != self._link_states
        self._link_states = states
        if moved:
            self._keepaliveds.tell_links()
        return self.reconciler.look_at("bridge", "interface", "fdb") or moved

    def tables_changed(self, ids: frozenset[int]) -> bool:
        """Look again at nftables of these namespaces, which others changed."""
        moved = watch.HERE in ids and self.reconciler.look_at("filter")
        return super().tables_changed(ids) or moved

    def reconcile(self, state: HostState) -> list[tuple[Device, list[str]]]:
        """Bring the host to `state` as far as it goes; as of Tracker."""
        self.runs.finished = False
        self.want(state)
        self.reconciler.reconcile()
        self.runs.tidy()
        self._linkless = self._without_link(self._ports.wanted.values())
        announcements, self._announcements = self._announcements, []
        return announcements

    def _made(self, device: str) -> None:
        self._fresh.append(device)
        self.runs.made(device)

    def _told(self, kind: str) -> None:
        """A device that was made anew has none of its entries; once all stands, those who knew addresses otherwise hear of it."""
        if kind == "interface" and self._fresh:
            fresh, self._fresh = set(self._fresh), []
            for key, _ in list(self.reconciler.there("fdb")):
                if key[1] in fresh:
                    self.repairs.expect(key)
            self.reconciler.look_at("fdb")
            self._announce(fresh)
        if kind == "interface":
            self.trouble.try_again(key for key in self.trouble if key[0] == "fdb")
        if kind != "metadata":
            return
        touched, self._touched = self._touched, set()
        try:
            for name in sorted(touched):
                if self.reconciler.mark_there(("namespace", name)) is not None:
                    namespaces.ask_again(name)
        except (ApplyError, OSError, ValueError) as error:
            log.warning("not all neighbours hear of a change: %s", error)
        self.repeat(self._announcements)

    def _announce(self, devices: set[str]) -> None:
        """Tell the networks of devices that are new which addresses are behind them."""
        for name in sorted(devices & self._ports.wanted.keys()):
            item = self.reconciler.state.objects.get(("filter", name))
            for mac, address in item.announces if isinstance(item, PortFilter) else ():
                try:
                    frame = arp_request(mac, address, address)
                    send_frame(self._ports.wanted[name].bridge, frame, UNASKED)
                except (ApplyError, ValueError) as error:
                    log.warning("not all neighbours hear of %s: %s", address, error)

    def _let_go(self, device: Device) -> None:
        """Take away the end in the bridge of a device that is nowhere, so that the retry makes both anew."""
        for item in self._ports.wanted.values():
            if item.options.get("peer") == device.name and self._ports.let_go(item.key):
                self.repairs.expect(item.key)
                self.reconciler.note(item.key, None)
