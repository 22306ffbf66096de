"""An instance wants its neighbour's lease: to have it, to give it back, to make it unusable; or the server busy.

A real agent's switch and dnsmasq; the attacker writes raw frames into its own network card.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tests.support import dhcp_judge
from tests.support.agents import apply_view, lease, plug, settings
from tests.support.host import SOURCE, Host
from tests.support.worlds import World

pytestmark = [pytest.mark.root, pytest.mark.slow]

VICTIM, ATTACKER, OPEN = "fa:16:3e:00:01:01", "fa:16:3e:00:01:02", "fa:16:3e:00:01:03"
ADDRESS = {"victim": "10.0.0.11", "attacker": "10.0.0.12", "open": "10.0.0.13"}
SERVER = "0a000002"
TABLE = "ip netns exec qdhcp-net-a nft -j list table ip netloom-dhcp"

SEND = """
import json, socket, sys
sys.path.insert(0, {source!r})
from tests.support import dhcp_judge as judge
link = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(0x0800))
link.bind(("eth0", 0))
answers = []
for number, message in enumerate(json.load(sys.stdin), 1000):
    data = judge.payload(message, number)
    link.send(judge.frame(message["mac"], data, message.get("src", "0.0.0.0")))
    answers.append(judge.listen(link, number, message.get("seconds", 0.0)))
print(json.dumps(answers))
"""


def say(host: Host, vm: str, *messages: dict[str, Any]) -> list[Any]:
    """Write these messages into an instance's card; returns the answers."""
    import sys

    words = ("ip", "netns", "exec", vm, sys.executable, "-c", SEND.format(source=str(SOURCE)))
    return json.loads(host.run(*words, stdin=json.dumps(messages)))


def counted(host: Host) -> dict[str, int]:
    """Comment of a rule → how many messages it decided about."""
    found: dict[str, int] = {}
    for item in json.loads(host.sh(TABLE))["nftables"]:
        rule = item.get("rule", {})
        for part in rule.get("expr", ()):
            if "counter" in part and "comment" in rule:
                found[rule["comment"]] = part["counter"]["packets"]
    return found


def cloud() -> World:
    world = World()
    world.host("a")
    world.network("net-a")
    world.subnet("sub-a", "net-a", "10.0.0.0/24")
    world.default_group("sg")
    for port, mac in (("victim", VICTIM), ("attacker", ATTACKER), ("open", OPEN)):
        more: dict[str, Any] = (
            {"security_groups": ("sg",)} if port != "open" else {"port_security_enabled": False}
        )
        world.port(port, "net-a", [("sub-a", ADDRESS[port])], "a", mac_address=mac, **more)
    return world


def test_nobody_touches_anothers_lease(host: Host, tmp_path: Path) -> None:
    world, config = cloud(), settings("a", tmp_path / "a", 1)
    apply_view(host, config, world.view("a"))
    vms = {name: plug(host, world.tables["ports"][name]) for name in ADDRESS}
    apply_view(host, config, world.view("a"))
    assert {name: lease(host, vm)["ip"] for name, vm in vms.items()} == ADDRESS

    taken = {"54": SERVER, "50": "0a00000b"}
    own_id, victims_id = {"61": "01fa163e000102"}, {"61": "01fa163e000101"}
    for name, mac in (("attacker", ATTACKER), ("open", OPEN)):
        hostile = [
            {
                "type": dhcp_judge.RELEASE,
                "chaddr": VICTIM,
                "ciaddr": "10.0.0.11",
                "options": {"54": SERVER},
            },
            {"type": dhcp_judge.DECLINE, "chaddr": VICTIM, "options": taken},
            {"type": dhcp_judge.REQUEST, "chaddr": VICTIM, "options": taken, "seconds": 0.3},
            {"type": dhcp_judge.DISCOVER, "chaddr": VICTIM, "seconds": 0.3},
            {
                "type": dhcp_judge.RELEASE,
                "ciaddr": "10.0.0.11",
                "options": {"54": SERVER, **victims_id},
            },
            {"type": dhcp_judge.DECLINE, "options": {**taken, **victims_id}},
            # Option 53 need not be the first.
            {"type": dhcp_judge.DECLINE, "first": {"12": "61"}, "options": {**taken, **victims_id}},
            {"type": dhcp_judge.INFORM, "ciaddr": "10.0.0.11", "seconds": 0.3},
            {"type": dhcp_judge.DISCOVER, "giaddr": "10.0.0.11", "seconds": 0.3},
        ]
        answers = say(host, vms[name], *[{"mac": mac, **message} for message in hostile])
        assert answers == [None] * len(hostile), name
        # As another host: port security, or else the flow of the port's own address, is in the way.
        forged = [{**message, "mac": VICTIM} for message in hostile]
        assert say(host, vms[name], *forged) == [None] * len(hostile), name
        # Asking for the victim's address in one's own name, with the victim's identifier.
        (answer,) = say(
            host, vms[name],
            {"mac": mac, "type": dhcp_judge.REQUEST, "options": {"50": "0a00000b", **victims_id}, "seconds": 5},
        )  # fmt: skip
        assert answer["type"] == dhcp_judge.NAK
    (answer,) = say(
        host,
        vms["attacker"],
        {"mac": ATTACKER, "options": {**own_id, "82": "0104deadbeef"}, "seconds": 5},
    )
    assert answer["yiaddr"] == ADDRESS["attacker"]
    assert {name: lease(host, vm)["ip"] for name, vm in vms.items()} == ADDRESS

    # Invented clients: the server hears none of them.
    before = counted(host)
    crowd = [
        {"mac": ATTACKER, "chaddr": f"02:00:00:00:{n >> 8:02x}:{n & 255:02x}"} for n in range(300)
    ]
    assert say(host, vms["attacker"], *crowd) == [None] * 300
    say(host, vms["attacker"], *[{**message, "mac": message["chaddr"]} for message in crowd])
    after = counted(host)
    assert after["chaddr or ciaddr of another"] > before["chaddr or ciaddr of another"]
    assert after["in its own name"] == before["in its own name"]

    # One's own address: given back or declined, it is there when it is asked for again.
    own = {"54": SERVER, "50": "0a00000c"}
    declined = {"mac": ATTACKER, "type": dhcp_judge.DECLINE, "options": own}
    for message in (
        {**declined, "type": dhcp_judge.RELEASE, "ciaddr": "10.0.0.12"},
        declined,
        {**declined, "first": {"12": "61"}},
        # The type in the field of the server's name (option 52, overload).
        {**declined, "type": 0, "first": {"52": "02"}, "sname": "350104ff"},
    ):
        say(host, vms["attacker"], message)
        assert lease(host, vms["attacker"])["ip"] == "10.0.0.12", message

    # The table is a part of the server: whoever takes it away has it back at the next audit.
    host.sh("ip netns exec qdhcp-net-a nft delete table ip netloom-dhcp")
    apply_view(host, config, world.view("a"))
    assert "chaddr or ciaddr of another" in counted(host)
    assert lease(host, vms["victim"])["ip"] == ADDRESS["victim"]


def test_a_server_that_hangs_or_is_stopped_is_ended_and_comes_back(
    host: Host, tmp_path: Path
) -> None:
    world, config = cloud(), settings("a", tmp_path / "a", 1)
    apply_view(host, config, world.view("a"))
    vm = plug(host, world.tables["ports"]["victim"])
    apply_view(host, config, world.view("a"))
    pid_file = "/run/netloom/agent/dhcp/net-a/pid"
    looks = (
        "from pathlib import Path; from netloom.dataplane.linux import dnsmasq; looks = {}; "
        "print([dnsmasq.end_hung(Path('/run/netloom/agent/dhcp'), looks) for _ in range(5)])"
    )
    # One that is well, busy or idle, is left alone.
    assert lease(host, vm)["ip"] == ADDRESS["victim"]
    assert host.python(looks).strip() == "[[], [], [], [], []]"
    first = host.sh(f"cat {pid_file}")
    host.sh(f"kill -STOP $(cat {pid_file})")
    assert "['net-a']" in host.python(looks)
    apply_view(host, config, world.view("a"))
    assert host.sh(f"cat {pid_file}") != first
    assert lease(host, vm)["ip"] == ADDRESS["victim"]
    host.sh(f"kill -KILL $(cat {pid_file})")
    apply_view(host, config, world.view("a"))
    # The new one knows nothing of the lease, and renews it all the same.
    renewal = {"mac": VICTIM, "type": dhcp_judge.REQUEST, "ciaddr": "10.0.0.11", "src": "10.0.0.11"}
    (answer,) = say(host, vm, {**renewal, "seconds": 5})
    assert answer["type"] == dhcp_judge.ACK
    assert lease(host, vm)["ip"] == ADDRESS["victim"]
