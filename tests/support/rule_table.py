"""Security group rules in every spelling, and what real Neutron 29.0.0 answered to each (`neutron_rules.json`).

`tests/unit/network/test_rules_as_neutron.py` holds Netloom to the recorded answers without Neutron;
`tests/differential/test_rule_table.py` asks Neutron again where it is installed.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

RECORD = Path(__file__).with_name("neutron_rules.json")

PROTOCOLS = [
    None, "any", "ANY", "Any", "", "tcp", "TCP", "Tcp", "6", 6, "udp", "17", "icmp", "ICMP", "1", 1, "icmpv6", "ICMPv6",
    "ipv6-icmp", "58", 58, "41", "43", "44", "59", "60", "ipv6-encap", "ipv6-frag", "ipv6-nonxt", "ipv6-opts",
    "ipv6-route", "0", 0, "255", "256", "-1", -1, "sctp", "132", "dccp", "udplite", "ah", "51", "vrrp", "ipip", "moon",
]  # fmt: skip
PORTS = [
    (None, None), (22, 22), ("22", "22"), (1, 65535), ("1", "65535"), (0, 65535), (0, 0), (22, None), (None, 22),
    (23, 22), (8, 0), (0, 255), (256, None), (8, 256), (1, 65536), (-1, -1), ("x", None),
]  # fmt: skip
SHORT_PORTS = [(None, None), (8, 0), (1, 65535), (22, None)]
ETHERTYPES = ["IPv4", "IPv6"]
FEW = ["tcp", "icmp", "ipv6-icmp", "58", "any", "ANY", None, "51", "sctp", "1"]
"""Protocols that are asked for with every pair of ports; the others with a few."""
PREFIXES = [
    None, "", "0.0.0.0/0", "::/0", "10.1.2.3", "10.1.2.3/8", "10.1.2.3/32", "10.1.2.0/255.255.255.0", "fd00::1",
    "fd00::1/64", "FD00:0::/64", "10.1.2.3/33", "x", "1.2.3.4/0", "::ffff:10.0.0.1/128", "10.1",
]  # fmt: skip
CASES = ["IPv4", "ipv4", "IPV4", "IPv6", "ipv6", "IPV6", "IPv5", "", None, 4]


def cases() -> Iterator[dict[str, Any]]:
    """Rules that are asked for one by one; none of them is there already."""
    for ethertype in ETHERTYPES:
        for protocol in PROTOCOLS:
            for low, high in PORTS if protocol in FEW else SHORT_PORTS:
                yield {
                    "ethertype": ethertype,
                    "protocol": protocol,
                    "port_range_min": low,
                    "port_range_max": high,
                }
        for prefix in PREFIXES:
            yield {"ethertype": ethertype, "remote_ip_prefix": prefix}
    for ethertype in CASES:
        yield {"ethertype": ethertype, "protocol": "tcp"}


TWINS: list[tuple[dict[str, Any], dict[str, Any]]] = [
    ({"protocol": "tcp"}, {"protocol": 6}),
    ({"protocol": "tcp"}, {"protocol": "TCP", "port_range_min": 1, "port_range_max": 65535}),
    ({"protocol": "tcp"}, {"protocol": "tcp", "remote_ip_prefix": "0.0.0.0/0"}),
    ({"protocol": "tcp", "remote_ip_prefix": "0.0.0.0/0"}, {"protocol": "tcp"}),
    ({"protocol": None}, {"protocol": "any"}),
    ({"protocol": None}, {"protocol": "ANY"}),
    ({"protocol": "ANY"}, {"protocol": "any"}),
    ({"protocol": None}, {"port_range_min": 1, "port_range_max": 65535}),
    ({"protocol": None}, {"protocol": "0"}),
    ({"protocol": "icmp", "ethertype": "IPv6"}, {"protocol": "icmpv6", "ethertype": "IPv6"}),
    ({"protocol": "icmp", "ethertype": "IPv6"}, {"protocol": "58", "ethertype": "IPv6"}),
    ({"protocol": "1", "ethertype": "IPv6"}, {"protocol": "ipv6-icmp", "ethertype": "ipv6"}),
    ({"protocol": "icmp"}, {"protocol": "icmp", "ethertype": "IPv6"}),
    ({"remote_ip_prefix": "10.0.0.1"}, {"remote_ip_prefix": "10.0.0.1/32"}),
    ({"remote_ip_prefix": "10.0.0.1/24"}, {"remote_ip_prefix": "10.0.0.2/24"}),
    ({"remote_ip_prefix": "10.0.0.0/24"}, {"remote_ip_prefix": "10.0.0.0/255.255.255.0"}),
    ({"remote_ip_prefix": "1.2.3.4/0"}, {"remote_ip_prefix": "0.0.0.0/0"}),
    ({"protocol": "ipip"}, {"protocol": "4"}),
    ({"protocol": "vrrp"}, {"protocol": 112}),
    ({"protocol": "tcp", "port_range_min": 22, "port_range_max": 22},
     {"protocol": "6", "port_range_min": "22", "port_range_max": "22"}),
    ({"protocol": "tcp", "direction": "egress"}, {"protocol": "tcp"}),
]  # fmt: skip
"""Rules of one group, the second asked for after the first: is it the same rule in other words?"""

SHOWN = (
    "ethertype", "protocol", "port_range_min", "port_range_max", "remote_ip_prefix", "normalized_cidr",
)  # fmt: skip

Ask = Callable[[str, str, Any], tuple[int, Any]]
"""(method, path below /v2.0, body) → status and decoded answer."""


def answer_of(status: int, body: Any) -> list[Any]:
    """What of an answer is compared: the stored values, or the status and the error's type."""
    if status == 201:
        return [status, *(body["security_group_rule"][name] for name in SHOWN)]
    error = body.get("NeutronError", {}) if isinstance(body, dict) else {}
    return [status, error.get("type", "")]


def _group(ask: Ask, name: str) -> str:
    return ask("POST", "/security-groups", {"security_group": {"name": name}})[1]["security_group"]["id"]  # fmt: skip


def _make(ask: Ask, group: str, rule: dict[str, Any]) -> tuple[list[Any], str | None]:
    body = {"security_group_rule": {"security_group_id": group, "direction": "ingress"} | rule}
    status, said = ask("POST", "/security-group-rules", body)
    return answer_of(status, said), said["security_group_rule"]["id"] if status == 201 else None


def run(ask: Ask, every: int = 1) -> dict[str, list[Any]]:
    """Ask for the table (of the single rules each `every`th); in the order of `cases()` and TWINS."""
    single: list[Any] = []
    group = _group(ask, "one by one")
    for rule in list(cases())[::every]:
        found, made = _make(ask, group, rule)
        single.append(found)
        if made is not None:
            ask("DELETE", f"/security-group-rules/{made}", None)
    twins: list[Any] = []
    for number, (first, second) in enumerate(TWINS):
        group = _group(ask, f"twins {number}")
        _make(ask, group, first)
        twins.append(_make(ask, group, second)[0])
        ask("DELETE", f"/security-groups/{group}", None)
    return {"single": single, "twins": twins}


def recorded() -> dict[str, list[Any]]:
    """What Neutron answered when it was last asked."""
    return json.loads(RECORD.read_text())


def record(answers: dict[str, list[Any]]) -> None:
    """Keep Neutron's answers, one a line."""
    parts = [
        f'"{name}": [\n' + ",\n".join(json.dumps(line) for line in lines) + "\n]"
        for name, lines in answers.items()
    ]
    RECORD.write_text("{" + ",\n".join(parts) + "}\n")
