"""Who has which address, told to those who knew it otherwise: hosts answer ARP, so they also say when the answer changes.

Neighbours cache an old MAC address for about 30 seconds. Instances do not always send gratuitous ARP, so the host does it for
them. What flows say of addresses is kept by flow, so that news cost work for the flows that changed.
"""

from __future__ import annotations

from collections import Counter, defaultdict

from netloom.agent.reconcile.diff import News
from netloom.dataplane.linux.netlink import arp_request
from netloom.model.hoststate import Flow, HostObject, Key
from netloom.model.openflow import ArpReply, Goto, Load
from netloom.plan.ovs.pipeline import Stage
from netloom.render.openflow import actions_text

Where = tuple[int, str]
"""Key of a network, and an address in it."""


class Neighbours:
    """What ARP was answered here. That an address was given up is remembered as long as its network is here."""

    def __init__(self) -> None:
        self._answers: dict[Where, dict[Key, str]] = defaultdict(
            dict
        )  # → MAC, by the flow that says so
        self._nets: Counter[int] = Counter()  # networks that flows name
        self._net_of: dict[int, int] = {}  # port (its key) of a device here → network
        self._own: dict[int, Counter[str]] = defaultdict(Counter)  # port → addresses let out
        self._devices: Counter[Where] = Counter()  # how many devices here have it
        self._known: dict[Where, str] = {}
        self._here: set[Where] = set()  # of this host's own devices
        self._touched: set[Where] = set()
        self._begun = False

    def follow(self, news: News) -> None:
        """Take in what changed of the state."""
        for key in (*news.fresh, *news.gone):
            old = news.before.get(key)
            if old is not None:
                self._take(old, -1)
        for key in news.fresh:
            self._take(news.after[key], 1)

    def _take(self, item: HostObject, more: int) -> None:
        if not isinstance(item, Flow):
            return
        match = item.match
        if match.net is not None:
            self._count_net(match.net, more)
            for action in item.actions:
                if isinstance(action, ArpReply):
                    where = (match.net, action.ip)
                    self._touched.add(where)
                    if more > 0:
                        self._answers[where][item.key] = action.mac
                    else:
                        self._answers[where].pop(item.key, None)
        if match.in_port is not None:
            loads = {a.field: a.value for a in item.actions if isinstance(a, Load)}
            if "net" in loads and "src_port" in loads:
                self._be(loads["src_port"], -1)
                if more > 0:
                    self._net_of[loads["src_port"]] = loads["net"]
                elif self._net_of.get(loads["src_port"]) == loads["net"]:
                    del self._net_of[loads["src_port"]]
                self._be(loads["src_port"], 1)
        elif item.table == Stage.LOCAL and match.src_port is not None and match.arp_tpa is not None:
            # plan/ovs/local.py lets out what a device says of its own addresses.
            self._be(match.src_port, -1)
            own = self._own[match.src_port]
            own[match.arp_tpa] += more
            if not own[match.arp_tpa]:
                del own[match.arp_tpa]
            self._be(match.src_port, 1)
            if not own:
                del self._own[match.src_port]

    def _be(self, port: int, more: int) -> None:
        """Count the addresses of a device here in, or out."""
        if port not in self._net_of:
            return
        for address in self._own.get(port, ()):
            where = (self._net_of[port], address)
            self._touched.add(where)
            self._devices[where] += more
            if not self._devices[where]:
                del self._devices[where]

    def _count_net(self, net: int, more: int) -> None:
        self._nets[net] += more
        if not self._nets[net]:
            del self._nets[net]
            gone = [where for where in self._known if where[0] == net]
            for where in gone:
                del self._known[where]

    def frames(self) -> list[tuple[bytes, str]]:
        """Frames about what changed since the last time, and the actions for each.

        An address that is new on this host's devices is told to the whole network, physical networks above all;
        one that moved elsewhere to the devices of this host, as every host does it for its own.
        """
        touched, self._touched = self._touched, set()
        here = {where for where in touched if where in self._devices}
        came = here - self._here if self._begun else set[Where]()
        self._here -= touched
        self._here |= here
        told: list[tuple[bytes, str]] = []
        for where in sorted(touched):
            mac = next(reversed(self._answers[where].values()), None)
            if mac is None:
                del self._answers[where]
                if where in self._known:
                    # Not answered for a while (another port's address pair named it): nobody knows what was said meanwhile.
                    self._known[where] = ""
                continue
            moved = self._known.get(where, mac) != mac
            self._known[where] = mac
            if moved or where in came:
                frame = arp_request(mac, where[1], where[1])
                told.append((frame, _to_devices(where[0], remote=where not in came)))
        self._begun = True
        return told


def _to_devices(net: int, remote: bool) -> str:
    """`remote`: as if the frame had come from elsewhere, for devices here alone."""
    return actions_text((Load("net", net), Load("remote", int(remote)), Goto(int(Stage.L2))))
