"""The kinds of Linux bridges against a real kernel: all is made, a second look changes nothing, all goes again."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest
from msgspec.structs import replace

from netloom.agent.reconcile.kinds.bridge_filter import BridgeFilters
from netloom.agent.reconcile.kinds.linux_bridges import BridgePorts, FdbEntries, LinuxBridges
from netloom.agent.reconcile.reconciler import Reconciler
from netloom.dataplane.linux import netns
from netloom.dataplane.linux.notes import InFile
from netloom.dataplane.ovs.allocator import Allocator
from netloom.model.filtering import EVERYBODY, FdbEntry
from netloom.model.hoststate import HostState, Interface
from netloom.plan import plan
from tests.support import worlds
from tests.unit.plan import test_random_plans

pytestmark = pytest.mark.root

SORTS = ("filter", "filter-base", "far-set", "far-member", "group-filter", "zone", "bridge", "fdb")
SCENARIOS = (worlds.walkthrough_b, worlds.remote_group, worlds.address_pairs)
TABLE = "netloom-bridge"


def reconciler(state: HostState, folder: Path) -> Reconciler:
    """What an agent that starts now makes of a state: it has looked at the host."""
    allocator = Allocator(InFile(folder / "numbers.json"))
    allocator.load()
    ports = BridgePorts(lambda _device: None)
    kinds = [BridgeFilters(allocator), LinuxBridges(), ports, FdbEntries(ports)]
    found = Reconciler(kinds)
    found.want(state)
    found.read()
    return found


def different(found: Reconciler) -> list[object]:
    """What is not as wanted."""
    return [(each.action, each.key, each.why) for each in found.findings()]


def views():
    for scenario in SCENARIOS:
        yield from scenario().views().values()
    yield from (test_random_plans.world(seed) for seed in range(12))


def of(view) -> HostState:
    facts = replace(view.facts, backend="linuxbridge")
    state = plan(replace(view, facts=facts))
    # This kernel may have no VLAN devices; and nobody plugs anything here.
    left_out = {i.name for i in state.each(Interface) if i.expected or i.type == "vlan"}
    return HostState.of(
        item
        for item in state.objects.values()
        if not (isinstance(item, Interface) and item.name in left_out)
        and not (isinstance(item, FdbEntry) and item.device in left_out)
    )


def test_what_is_planned_is_made_found_again_and_removed(tmp_path: Path) -> None:
    for view in views():
        state = of(view)
        with netns.scratch():
            for number in (1, 2, 3):
                subprocess.run(["ip", "link", "add", f"eth{number}", "type", "veth"], check=True)
            before = subprocess.run(["ip", "link"], capture_output=True, text=True, check=True)
            first = reconciler(state, tmp_path)
            first.reconcile()
            assert not first.trouble, dict(first.trouble.items())
            assert not different(reconciler(state, tmp_path))
            assert first.changes
            last = reconciler(HostState(), tmp_path)
            last.reconcile()
            assert not last.leaving and not different(reconciler(HostState(), tmp_path))
            after = subprocess.run(["ip", "link"], capture_output=True, text=True, check=True)
            assert len(before.stdout.splitlines()) == len(after.stdout.splitlines())


DAMAGES = (
    ("nft delete table inet netloom-bridge", "filter"),
    ("nft delete table bridge netloom-bridge", "filter"),
    ("nft flush chain inet netloom-bridge sent", "filter-base"),
    ("nft flush chain bridge netloom-bridge from-{tap}", "filter"),
    ("nft insert rule inet netloom-bridge ingress-of-{tap} accept", "filter"),
    ("nft flush map bridge netloom-bridge senders", "filter"),
    ("nft flush map inet netloom-bridge zones", "zone"),
    ("nft flush set inet netloom-bridge forwarders", "far-member"),
    ("nft add chain inet netloom-bridge mine", "group-filter"),
    ("ip link del {tap}", "interface"),
    ("ip link set {tap} nomaster", "interface"),
    ("ip link set {tap} down", "interface"),
    ("ip link set {tap} mtu 1300", "interface"),
    ("ip link set {tap} type bridge_slave learning on", "interface"),
    ("ip link set {bridge} type bridge nf_call_iptables 0", "bridge"),
    ("ip link set {bridge} down", "bridge"),
    ("ip link del {bridge}", "bridge"),
    ("ip link del {vxlan}", "interface"),
    ("bridge fdb del 00:00:00:00:00:00 dev {vxlan} dst {end}", "fdb"),
    ("bridge fdb append 00:00:00:00:00:00 dev {vxlan} dst 192.0.2.99", "fdb"),
)


def test_what_others_damage_is_found_and_repaired(tmp_path: Path) -> None:
    state = of(worlds.walkthrough_b().view("network1"))
    devices = [key for key in state.objects if key[0] == "interface"]
    vxlan = next(key for key in devices if key[2].startswith("vxlan-"))
    tap = next(key for key in devices if key[1] == vxlan[1] and key[2].startswith("tap"))
    end = next(e.to for e in state.each(FdbEntry) if (e.device, e.mac) == (vxlan[2], EVERYBODY))
    words = {"tap": tap[2], "bridge": tap[1], "vxlan": vxlan[2], "end": end}
    with netns.scratch():
        for number in (1, 2, 3):
            subprocess.run(["ip", "link", "add", f"eth{number}", "type", "veth"], check=True)
        reconciler(state, tmp_path).reconcile()
        for script, sort in DAMAGES:
            subprocess.run(script.format(**words).split(), check=True)
            found = reconciler(state, tmp_path)
            seen = different(found)
            assert any(key[0] == sort for _, key, _ in seen), (script, seen)
            found.reconcile()
            again = reconciler(state, tmp_path)
            again.reconcile()  # a device that was made anew has lost its entries
            assert not different(reconciler(state, tmp_path)), script


def test_a_card_with_an_address_of_the_host_is_left_alone(tmp_path: Path) -> None:
    """In a bridge it would not be reached by it any more, and the host with it."""
    state = of(worlds.walkthrough_b().view("network1"))
    card = next(item for item in state.each(Interface) if item.type == "system")
    with netns.scratch():
        subprocess.run(["ip", "link", "add", card.name, "type", "veth"], check=True)
        subprocess.run(["ip", "addr", "add", "192.0.2.9/24", "dev", card.name], check=True)
        found = reconciler(state, tmp_path)
        found.reconcile()
        assert "has the address 192.0.2.9/24" in found.trouble[card.key].detail
        subprocess.run(["ip", "addr", "flush", "dev", card.name], check=True)
        found.trouble.try_again([card.key])
        found.reconcile()
        assert card.key not in found.trouble


LISTS = (
    ("10.0.0.0/8", "10.1.0.0/16", "192.0.2.1/32"),
    ("10.1.0.0/16", "10.2.0.7/32", "192.0.2.1/32"),  # what was within a range is there without it
    ("0.0.0.0/0",),
    (),
    ("10.0.0.0/25", "10.0.0.128/25", "2001:db8::/64", "2001:db8::1/128"),
    ("10.0.0.0/24", "::/0"),
    ("10.0.0.0/25", "2001:db8::1/128"),
)
"""Of an address group, one after the other."""


def test_a_set_of_ranges_follows_its_address_group_by_its_elements(tmp_path: Path) -> None:
    world = worlds.remote_group()
    world.addresses("list")
    for family in (4, 6):
        more = {"ethertype": f"IPv{family}", "remote_address_group_id": "list"}
        world.rule(f"listed{family}", "web", "ingress", **more)

    def states():
        for addresses in LISTS:
            world.addresses("list", *addresses)
            yield of(world.view("compute1"))

    with netns.scratch():
        for number in (1, 2, 3):
            subprocess.run(["ip", "link", "add", f"eth{number}", "type", "veth"], check=True)
        found: Reconciler | None = None
        for state in states():
            if found is None:
                found = reconciler(state, tmp_path)
            else:
                made = found.changes
                found.want(state)
                found.reconcile()
                assert not found.trouble, dict(found.trouble.items())
                assert found.changes - made <= 2  # one set of each family
            found.reconcile()
            assert not different(reconciler(state, tmp_path)), state
        asked = ["nft", "add", "element", "inet", TABLE, "listed4-list", "{ 203.0.113.0/24 }"]
        subprocess.run(asked, check=True)
        assert [key for _, key, _ in different(reconciler(state, tmp_path))] == [
            ("far-set", "listed4-list")
        ]
        again = reconciler(state, tmp_path)
        again.reconcile()
        assert not different(reconciler(state, tmp_path))
