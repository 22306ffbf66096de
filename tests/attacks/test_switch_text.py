"""Values that reach ovs-ofctl and nft: written as exactly one flow or rule with that meaning, or not at all.

The real programs judge what was written.
"""

from __future__ import annotations

import contextlib
import itertools
import random
import re
import shutil
import subprocess
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from netloom.model.hoststate import (
    AttachedNetwork,
    DhcpLease,
    Dnsmasq,
    FloatingNat,
    Flow,
    SourceNat,
)
from netloom.model.openflow import ArpReply, Conjunction, Ct, Goto, Load, Match, SetEth, SetTunnel
from netloom.model.origin import Origin
from netloom.render.ip import ip_commands
from netloom.render.nft import dhcp_ruleset, nft_ruleset
from netloom.render.openflow import flow_text
from netloom.render.values import Unwritable

PARTS = [
    "\n", "\r", "\0", ",", " ", "actions=", "actions=drop", "table=0,", "priority=65535", "#", "\\", '"', ";", "{", "}",
    "0.0.0.0/0", "10.0.0.1", "::1", "fe80::1%eth0", "fa:16:3e:00:00:01", "/", "ff", "$(id)", "flush ruleset", "accept", "@x",
    "normal", "resubmit(,60)", "in_port", "-1", "0x1", "ü", "…", "ip", "arp", "+trk", "-est",
]  # fmt: skip
HOSTILE = st.lists(st.sampled_from(PARTS) | st.text(max_size=6), max_size=5).map("".join)
TEXT_FIELDS = ["eth_src", "eth_dst", "eth_type", "arp_spa", "arp_tpa", "arp_sha", "ip_src", "ip_dst", "ct_state"]  # fmt: skip
NUMBER_FIELDS = ["tun_id", "vlan", "net", "remote", "arp_op", "ip_proto", "tp_src", "tp_dst", "icmp_type", "icmp_code"]  # fmt: skip
NUMBER = {"port": "7", "zone": "8", "conj": "9"}


def of_switch(kind: str, name: str) -> str:
    return NUMBER[kind]


def a_flow(match: Match, *actions: Any) -> Flow:
    return Flow(bridge="br-int", table=20, priority=100, match=match, actions=actions)


def hostile(chance: random.Random) -> str:
    return "".join(chance.choice(PARTS) for _ in range(chance.randrange(5)))


def hostile_flows(chance: random.Random) -> Iterator[Flow]:
    """A flow with one wrong match field, and one with one wrong action."""
    fields: dict[str, Any] = {"eth_type": chance.choice(["ip", "arp", "ipv6", None])}
    number = chance.choice([-(2**70), -1, 0, 1, 4094, 4095, 65535, 65536, 2**24, 2**32, 2**70])
    if chance.random() < 0.5:
        fields[chance.choice(TEXT_FIELDS)] = hostile(chance)
    else:
        fields[chance.choice(NUMBER_FIELDS)] = number
    yield a_flow(Match(**fields))
    text = hostile(chance)
    actions = [
        Load("net", number),
        SetEth(dst=text),
        SetTunnel(number, "192.0.2.1"),
        ArpReply(text, "10.0.0.1", 60),
        ArpReply("fa:16:3e:00:00:01", text, 60),
        Goto(number),
        Ct("z", number),
        Conjunction("c", number, 2),
    ]
    yield a_flow(Match(eth_type="ip"), chance.choice(actions))


@pytest.mark.skipif(shutil.which("ovs-ofctl") is None, reason="needs ovs-ofctl")
def test_a_flow_is_one_flow_of_its_table_and_priority(tmp_path):
    chance = random.Random(1)
    lines: list[str] = []
    for flow in itertools.chain.from_iterable(hostile_flows(chance) for _ in range(3000)):
        with contextlib.suppress(Unwritable):
            lines.append(flow_text(flow, of_switch))
    assert len(lines) > 500
    for line in lines:
        assert "\n" not in line
        assert line.startswith("table=20,priority=100")
        assert line.count(" actions=") == 1
    # ovs-ofctl ends at the first line that it refuses (a field that its type of frame does not have).
    path, left = tmp_path / "flows", list(dict.fromkeys(lines))
    read = 0
    while left:
        path.write_text("".join(line + "\n" for line in left))
        done = subprocess.run(
            ["ovs-ofctl", "-O", "OpenFlow15", "parse-flows", str(path)],
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode == 0:
            added = [
                line
                for line in done.stdout.splitlines()
                if " ADD " in line or line.startswith("ADD ")
            ]
            assert len(added) == len(left)
            assert all("table:20" in line and "priority=100" in line for line in added)
            read = len(added)
            break
        at = re.search(r"flows:(\d+): ", done.stderr)
        assert at, done.stderr
        del left[int(at[1]) - 1]
    assert read > 50


@pytest.mark.parametrize("field", TEXT_FIELDS)
def test_no_line_break_in_any_field(field):
    """A host's tunnel address with a line break wrote a flow of its own into others' switches."""
    good = {
        "eth_type": "ip", "ct_state": "+trk+est", "arp_sha": "fa:16:3e:00:00:01", "eth_src": "fa:16:3e:00:00:01",
        "eth_dst": "fa:16:3e:00:00:01",
    }.get(field, "10.0.0.1")  # fmt: skip
    more = {"eth_type": "ip"} if field.startswith("ip_") else {}
    assert good in flow_text(a_flow(Match(**{**more, field: good})), of_switch)
    for bad in (
        f"{good}\ntable=0,priority=65535 actions=normal",
        f"{good},reg0=5",
        f"{good} actions=normal",
        f"{good}\0",
    ):
        with pytest.raises(Unwritable):
            flow_text(a_flow(Match(**{**more, field: bad})), of_switch)
    # Refused when it is made already, as it comes from another host.
    with pytest.raises(ValueError):
        flow_text(a_flow(Match(), SetTunnel(5, f"192.0.2.1{chr(10)}actions=normal")), of_switch)
    with pytest.raises(Unwritable):
        flow_text(a_flow(Match(in_port="tapx")), lambda kind, name: "7,actions=normal")


NAT = FloatingNat(
    namespace="qrouter-1", device="qg-1", external="203.0.113.5", internal="10.0.0.5", origin=(Origin("floatingip", "1"),)
)  # fmt: skip


@pytest.mark.root
@settings(max_examples=8)
@given(
    st.lists(
        st.tuples(st.sampled_from(["device", "external", "internal", "origin"]), HOSTILE),
        min_size=10,
        max_size=40,
    )
)
def test_nat_is_what_it_says_or_is_not_written(changes):
    texts: list[str] = []
    for field, value in changes:
        wrong = replace(NAT, **{field: (Origin("port", value),) if field == "origin" else value})
        try:
            texts.append(nft_ruleset([wrong], []))
        except Unwritable:
            continue
    for text in texts:
        # Whatever the value: a table of the same shape.
        assert text.count("\n") == nft_ruleset([NAT], []).count("\n")
    if texts:
        done = subprocess.run(
            ["unshare", "-n", "nft", "-c", "-f", "-"], input="".join(texts), capture_output=True, text=True, check=False
        )  # fmt: skip
        assert done.returncode == 0, done.stderr


@pytest.mark.root
@settings(max_examples=30)
@given(st.sampled_from(["network_id", "connected", "others", "devices", "origin"]), HOSTILE)
def test_an_attached_network_is_what_it_says_or_is_not_written(field, value):
    good = AttachedNetwork(
        namespace="qrouter-1",
        network_id="1",
        connected=("10.0.0.0/24",),
        others=("10.1.0.0/24",),
        devices=("qr-1",),
        origin=(Origin("network", "1"),),
    )
    if field == "origin":
        value = Origin("network", value)
    wrong = replace(good, **{field: value if field == "network_id" else (value,)})
    try:
        text = nft_ruleset([], [], [wrong])
    except Unwritable:
        return
    if not any(":" in cidr for cidr in (*wrong.connected, *wrong.others)):
        assert text.count("\n") == nft_ruleset([], [], [good]).count("\n")
    done = subprocess.run(
        ["unshare", "-n", "nft", "-c", "-f", "-"], input=text, capture_output=True, text=True, check=False
    )  # fmt: skip
    assert done.returncode == 0, done.stderr


@pytest.mark.root
@settings(max_examples=8)
@given(st.sampled_from(["mac", "ip", "addresses"]), HOSTILE)
def test_what_a_dhcp_server_may_hear_is_written_or_not_at_all(field, value):
    lease = DhcpLease(mac="fa:16:3e:00:00:01", ip="10.0.0.11", hostname="a", port_id="p")
    wrong = replace(lease, **{field: (value,) if field == "addresses" else value})
    server = Dnsmasq(namespace="qdhcp-1", network_id="1", device="tap1", leases=(lease, wrong))
    try:
        text = dhcp_ruleset(server)
    except Unwritable:
        return
    assert re.fullmatch(r"[ -~\n]*", text)
    done = subprocess.run(
        ["unshare", "-n", "nft", "-c", "-f", "-"], input=text, capture_output=True, text=True, check=False
    )  # fmt: skip
    assert done.returncode == 0, done.stderr


def test_source_nat_with_another_text_is_refused():
    good = SourceNat(namespace="qrouter-1", device="qg-1", address="203.0.113.5")
    assert "snat to 203.0.113.5" in nft_ruleset([], [good])
    for wrong in (
        replace(good, device='a" accept'),
        replace(good, address="10.0.0.1; flush ruleset"),
    ):
        with pytest.raises(Unwritable):
            nft_ruleset([], [wrong])


def test_commands_for_people_are_commands():
    from netloom.model.hoststate import Address, Device, Namespace, Neighbour, NsRoute

    device = Device(
        namespace="qdhcp-1",
        name="tap1",
        mac="fa:16:3e:00:00:01",
        mtu=1500,
        addresses=(Address("10.0.0.1/24"),),
    )
    assert len(ip_commands(device)) == 3
    bad = [
        Namespace(name="a; reboot"),
        Neighbour(
            namespace="a", device="tap1", address="10.0.0.1; reboot", mac="fa:16:3e:00:00:01"
        ),
        Neighbour(namespace="a", device="tap1", address="10.0.0.1", mac="x; reboot"),
        replace(device, name="tap1 up; reboot"),
        replace(device, mac="x"),
        replace(device, addresses=(Address("10.0.0.1/24 dev lo; reboot"),)),
        NsRoute(namespace="a", destination="0.0.0.0/0 & reboot", device="tap1"),
        NsRoute(namespace="a", destination="0.0.0.0/0", device="tap1", gateway="$(reboot)"),
    ]
    for item in bad:
        with pytest.raises(Unwritable):
            ip_commands(item)
