"""Plans of many random clouds, by digest: a commit that should change no plan leaves the golden file as it is."""

from __future__ import annotations

import hashlib
import random
from typing import Any

from msgspec.structs import replace

from netloom.model import (
    Chassis,
    DhcpOption,
    FixedIP,
    HostView,
    Image,
    Route,
    SecurityGroup,
    Subnet,
)
from netloom.plan import plan
from tests.support.state_text import state_text
from tests.unit.plan import test_parts as made

WORLDS = 150


def world(seed: int) -> HostView:
    """A view of host h1; some of its ports have IPv6 addresses, pairs and rules too."""
    draw = random.Random(seed)
    pick, flip = draw.choice, lambda often=0.5: draw.random() < often
    some = lambda values, most=2: draw.sample(list(values), draw.randint(0, most))  # noqa: E731
    networks = [
        made.network(n, flip(0.9), pick((1400, 1450)), "") for n in made.NETWORKS if flip(0.9)
    ]
    subnets = [made.subnet(n, flip(0.8), pick((None, "10.0.0.1"))) for n in made.NETWORKS]
    subnets = [_more(draw, each) for each in subnets]
    subnets += [_second(n) for n in made.NETWORKS if flip(0.3)]
    subnets += [_ipv6(n) for n in made.NETWORKS if flip(0.3)]
    options = (DhcpOption("mtu", "1400"), DhcpOption("junk", "x"), DhcpOption("mtu", "1300", 6))
    ports = [
        made.port(
            number,
            pick(made.NETWORKS),
            pick(("h1", "h1", "h2", "h3", "")),
            set(some(made.GROUPS)),
            pick(made.OWNERS),
            pick(made.ROUTERS),
            some(made.PAIRS),
            flip(0.8),
            flip(0.9),
            "",
            tuple(some(options)),
        )
        for number in range(len(made.PORTS))
    ]
    ports = [_with_ipv6(each) if flip(0.2) else each for each in ports]
    rules = [
        made.rule_of(
            id,
            pick(made.GROUPS),
            pick(("ingress", "egress")),
            pick((None, *made.GROUPS)),
            None,
            pick((None, "10.0.0.11/32", "10.0.0.0/24", "0.0.0.0/0")),
            pick((None, "tcp", "udp", "icmp", "nonsense")),
            pick(("IPv4", "IPv4", "IPv6")),
        )
        for id in "stuvwxyz"
    ]
    hosts = ((), ("h1",), ("h1",), ("h2",), ("h1", "h2"), ("h3", "h1"))
    routers = [made.router(id, pick(hosts), flip(0.9), flip(), flip(0.3)) for id in made.ROUTERS]
    route = Route("192.168.0.0/16", "10.0.0.77")
    routers = [replace(each, routes=(route,)) if flip(0.4) else each for each in routers]
    fips = [
        made.floatingip(n, pick((None, *made.PORTS)), pick((None, *made.ROUTERS)), None)
        for n in (1, 2, 3)
    ]
    servers = [
        made.server(id, pick(("h1", "h2")), some(made.PORTS), pick(("web", "Web", "host-1")), "1")
        for id in made.SERVERS
    ]
    tables: dict[str, list[Any]] = {
        "networks": networks,
        "subnets": subnets,
        "ports": ports,
        "routers": routers,
        "floatingips": fips,
        "security_groups": [SecurityGroup(id=id, stateful=flip(0.8)) for id in made.GROUPS],
        "security_group_rules": rules,
        "servers": servers,
        "images": [Image(id="image", disk_format="raw")],
    }
    chassis = {h: Chassis(host=h, tunnel_ip=f"192.0.2.{n}") for n, h in enumerate(made.HOSTS, 1)}
    rows = {table: {row.id: row for row in found} for table, found in tables.items()}
    return HostView(seq=1, facts=made.FACTS, chassis=chassis, **rows)


def _more(draw: random.Random, subnet: Subnet) -> Subnet:
    routes = (Route("172.16.0.0/12", "10.0.0.9"), Route("0.0.0.0/0", "10.0.0.8"))
    servers = ("9.9.9.9", "2001:db8::9")
    return replace(
        subnet,
        host_routes=tuple(draw.sample(routes, draw.randint(0, 2))),
        dns_nameservers=tuple(draw.sample(servers, draw.randint(0, 2))),
    )


def _second(network: str) -> Subnet:
    return Subnet(id=f"t-{network}", network_id=network, cidr="10.9.0.0/24")


def _ipv6(network: str) -> Subnet:
    return Subnet(
        id=f"6-{network}", network_id=network, cidr="2001:db8:6::/64", ip_version=6, gateway_ip=None
    )


def _with_ipv6(port: Any) -> Any:
    address = FixedIP(f"6-{port.network_id}", f"2001:db8:6::{port.key}")
    return replace(port, fixed_ips=(*port.fixed_ips, address))


def test_plans_of_random_clouds(golden: Any) -> None:
    lines: list[str] = []
    for seed in range(WORLDS):
        state = plan(world(seed))
        digest = hashlib.sha256(state_text(state).encode()).hexdigest()[:16]
        lines.append(f"{seed} {len(state.objects)} {digest}")
    golden("plan/random.txt", "\n".join(lines) + "\n")
