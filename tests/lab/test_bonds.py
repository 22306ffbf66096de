"""A physical network on a bond of two cards: the tag on the wire, and what the loss of a card costs."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pytest

from netloom.lab import wiring
from netloom.lab.topology import FABRIC
from tests.support.pings import Pinging
from tests.support.running_lab import RunningLab
from tests.support.tenant import Capture, Instance, Tenant, on_host

pytestmark = [pytest.mark.root, pytest.mark.slow]

HOST = "compute1"
PLUGS = {"eth-extnet": "e-compute1", "eth-second": "e2-compute1"}
"""Card of the host → its plug in the fabric."""
INTERVAL = 0.05
"""Seconds between two pings."""


@dataclass(frozen=True)
class Bonded:
    """Two instances of a VLAN network; `near` is on the host whose cards are a bond."""

    lab: RunningLab
    network: dict[str, Any]
    near: Instance
    far: Instance

    def fabric(self, *words: str) -> str:
        """Run a command where the physical networks are."""
        return wiring.run(wiring.inside(self.lab.process(FABRIC), words, network_only=True))

    def active(self) -> str:
        """The card that carries all."""
        said = self.lab.exec(HOST, "ovs-appctl", "bond/show", "bond-extnet")
        found = re.search(r"active member mac: \S+\((\S+)\)", said)
        assert found and found.group(1), said
        return found.group(1)


def settled(lab: RunningLab) -> bool:
    """Whether the agent has made the bond."""
    said = lab.exec(HOST, "ovs-appctl", "bond/show", "bond-extnet", check=False)
    return said.count(": enabled") == 2


@pytest.fixture(scope="module")
def bonded(lab: RunningLab) -> Iterator[Bonded]:
    settings = lab.lab.host(HOST) / "agent.toml"
    before = settings.read_text()
    add_card(lab)
    try:
        settings.write_text(before.replace('"eth-extnet"', '["eth-extnet", "eth-second"]'))
        restart(lab)
        RunningLab.until(lambda: settled(lab), 30, "the bond was never made")
        with Tenant(lab) as tenant:
            group = tenant.group({"ethertype": "IPv4"})
            vlan = {"provider:network_type": "vlan", "provider:physical_network": "extnet"}
            network = tenant.network("bonded", "10.90.0.0/24", None, **vlan)
            asked = [
                tenant.boot(f"bonded-{host}", host, network, group) for host in (HOST, "compute2")
            ]
            near, far = map(tenant.instance, asked)
            near.reaches(far.address)
            yield Bonded(lab, network, near, far)
    finally:
        settings.write_text(before)
        restart(lab)
        RunningLab.until(lambda: not settled(lab), 30, "the bond stays")
        in_fabric(lab, f"link del {PLUGS['eth-second']}\n")
        RunningLab.until(lambda: "no errors" in lab.status(), 30, "not well afterwards")


def in_fabric(lab: RunningLab, batch: str) -> None:
    """Carry out lines of `ip -batch` where the physical networks are."""
    line = wiring.inside(lab.process(FABRIC), ["ip", "-batch", "-"], network_only=True)
    wiring.run(line, batch)


def add_card(lab: RunningLab) -> None:
    """Give the host a second card on the physical network."""
    plug, pid = PLUGS["eth-second"], lab.process(HOST).pid
    batch = f"link add {plug} type veth peer name eth-second netns {pid}\n"
    in_fabric(lab, f"{batch}link set {plug} master extnet up\n")
    lab.exec(HOST, "ethtool", "-K", "eth-second", "tx", "off")
    lab.exec(HOST, "ip", "link", "set", "eth-second", "up")


def restart(lab: RunningLab) -> None:
    """Have the agent read its settings anew."""
    pid = (lab.lab.host(HOST) / "services/agent").read_text().split()[0]
    lab.exec(HOST, "kill", pid)


def test_the_tag_on_the_wire_is_the_segmentation_id(bonded: Bonded) -> None:
    tag = bonded.network["provider:segmentation_id"]
    with Capture(on_host(bonded.lab, HOST), bonded.active(), "vlan", "and", "icmp") as seen:
        assert bonded.near.pings(bonded.far.address, count=3)
    frames = [frame for frame in seen.frames if "ICMP echo" in frame]
    assert len(frames) >= 6, seen.text
    assert all(f"vlan {tag}," in frame for frame in frames), seen.text


@pytest.mark.parametrize("end", ["near", "far"])
def test_a_card_that_loses_its_link_costs_a_second_at_most(bonded: Bonded, end: str) -> None:
    """Whoever speaks: the switch outside learns the way by the other card from what the host sends after it."""
    source = bonded.near if end == "near" else bonded.far
    target = bonded.far if end == "near" else bonded.near
    lost = bonded.active()
    pinging = Pinging(
        source.line("ping", "-n", "-i", str(INTERVAL), "-W", "1", "-O", target.address)
    )
    try:
        source.reaches(target.address)
        bonded.fabric("ip", "link", "set", PLUGS[lost], "down")
        RunningLab.until(lambda: bonded.active() != lost, 5, "the other card never took over")
        source.reaches(target.address)
        told = f"device {lost} of bond-extnet without a link"
        RunningLab.until(lambda: told in bonded.lab.status(), 20, "nobody says that a card is lost")
    finally:
        bonded.fabric("ip", "link", "set", PLUGS[lost], "up")
    RunningLab.until(lambda: settled(bonded.lab), 20, "the card never came back")
    source.reaches(target.address)
    said = pinging.stop()
    sent, received = map(int, re.findall(r"(\d+) packets transmitted, (\d+) received", said)[0])
    print(f"{end}: {sent - received} of {sent} pings lost, one each {INTERVAL} s")
    assert (sent - received) * INTERVAL <= 1.0, said[-400:]


def test_a_damaged_bond_is_repaired(bonded: Bonded) -> None:
    for damage in (
        "ovs-vsctl del-port br-extnet bond-extnet",
        "ovs-vsctl set port bond-extnet bond_mode=balance-slb",
        "ovs-vsctl del-bond-iface bond-extnet eth-second",
    ):
        bonded.lab.exec(HOST, "sh", "-ec", damage)
        mode = "bond_mode: active-backup"
        RunningLab.until(
            lambda mode=mode: (
                settled(bonded.lab)
                and mode in bonded.lab.exec(HOST, "ovs-appctl", "bond/show", "bond-extnet")
            ),
            15,
            f"not repaired: {damage}",
        )
        bonded.near.reaches(bonded.far.address, 15)


def test_a_card_that_is_gone_is_missed_and_taken_in_again(bonded: Bonded) -> None:
    lab, plug = bonded.lab, PLUGS["eth-second"]
    bonded.fabric("ip", "link", "del", plug)
    bonded.near.reaches(bonded.far.address)
    RunningLab.until(lambda: "eth-second" in lab.status(), 30, "nobody says that a card is gone")
    restart(lab)  # an agent that is started now takes what there is
    bonded.near.reaches(bonded.far.address)
    add_card(lab)
    RunningLab.until(lambda: settled(lab), 90, "the card is not taken in again")
    bonded.near.reaches(bonded.far.address)
