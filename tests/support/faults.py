"""The 42 faults of docs/rooms/explain.md: what is done to a cloud that works, what is asked, and who is to blame.

Each is done through the API (the one in which an instance fails: by its host's report). What is right where `plain` made
it is made wrong by the fault; or the fault makes something of its own that is wrong from its beginning.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from tests.support.shop import NETWORKING, Shop

Question = tuple[Any, ...]
"""Source, destination, and a dict of the rest (protocol, port, size)."""


@dataclass(frozen=True)
class Fault:
    """One row: what is done (in words and as `inject`), the question, the guilty object («kind/name»).

    `verdict` and `after`: what explain says before its fix is carried out, and after.
    """

    text: str
    question: Question
    guilty: str
    verdict: str
    after: str
    inject: Callable[[Shop], None] = field(repr=False)


FAULTS: list[Fault] = []


def fault(
    text: str,
    source: str,
    destination: str,
    service: str = "icmp",
    *,
    guilty: str,
    verdict: str = "unreachable",
    after: str = "reachable",
    size: int = 0,
) -> Callable[[Callable[[Shop], None]], Callable[[Shop], None]]:
    """Note a fault. `source` and `destination`: names of instances, addresses, or `outside`."""
    protocol, _, port = service.partition("/")
    more: dict[str, Any] = {"protocol": protocol}
    more |= {"port": int(port)} if port else {}
    more |= {"size": size} if size else {}

    def note(inject: Callable[[Shop], None]) -> Callable[[Shop], None]:
        question = (source, destination, more)
        FAULTS.append(Fault(text, question, guilty, verdict, after, inject))
        return inject

    return note


ICMP, SSH = {"protocol": "icmp"}, {"protocol": "tcp", "port_range_min": 22, "port_range_max": 22}


def tcp(low: int, high: int = 0, **more: Any) -> dict[str, Any]:
    return {"protocol": "tcp", "port_range_min": low, "port_range_max": high or low, **more}


def external(s: Shop, name: str, cidr: str, wire: str) -> None:
    provider = {"provider:network_type": "flat", "provider:physical_network": wire}
    s.network(name, cidr, {"enable_dhcp": False}, **{"router:external": True, **provider})


def plain(s: Shop) -> None:
    """Two networks behind a router; client and web on one, db on the other; web and client have floating IPs.

    Each instance has a group of its own: ping and ssh from everywhere.
    """
    external(s, "elsewhere", "203.0.113.0/24", "extnet")
    external(s, "public", "198.51.100.0/24", "public")
    s.network("front", "10.1.0.0/24")
    s.network("back", "10.2.0.0/24")
    s.router("r1", "public", "front", "back")
    for name, host, network, address in (
        ("client", "compute1", "front", "10.1.0.10"),
        ("web", "compute2", "front", "10.1.0.11"),
        ("db", "compute1", "back", "10.2.0.11"),
    ):
        s.group(name, ICMP, SSH)
        s.instance(name, host, (network, address), groups=(name,))
    s.floating("busy", "client")


def island(s: Shop, cidr: str = "10.3.0.0/24") -> None:
    """A third network, `island`, with the instance `hermit`; no router."""
    s.network("island", cidr)
    s.group("hermit", ICMP, SSH)
    s.instance(
        "hermit", "compute2", ("island", cidr.removesuffix("0/24") + "11"), groups=("hermit",)
    )


def second_router(s: Shop) -> None:
    """A router `r2` of the island, joined to r1 by the network `transit` (r1 at .1, r2 at .2)."""
    island(s)
    s.network("transit", "10.8.0.0/24")
    s.attach("r1", "transit")
    s.router("r2", "", "island")
    s.attach("r2", "transit", "10.8.0.2")


def routes(s: Shop, router: str, *ways: tuple[str, str]) -> None:
    s.set(f"router/{router}", routes=[{"destination": to, "nexthop": via} for to, via in ways])


# -- security groups


@fault("the rule for ssh deleted", "outside", "web", "tcp/22", guilty="security_group/web")
def _(s: Shop) -> None:
    s.floating("fip", "web")
    s.delete("security_group_rule/web-1")


@fault("the rule for ping deleted", "client", "db", guilty="security_group/db")
def _(s: Shop) -> None:
    s.delete("security_group_rule/db-0")


@fault("a rule for TCP where UDP is meant", "client", "web", "udp/53", guilty="security_group/web")
def _(s: Shop) -> None:
    s.rule("dns", "web", **tcp(53))


@fault(
    "a port range that ends one too early", "client", "web", "tcp/8010", guilty="security_group/web"
)
def _(s: Shop) -> None:
    s.rule("range", "web", **tcp(8000, 8009))


@fault("a rule for the wrong remote prefix", "client", "db", "tcp/5432", guilty="security_group/db")
def _(s: Shop) -> None:
    s.rule("sql", "db", **tcp(5432, remote_ip_prefix="10.2.0.0/24"))


@fault(
    "a rule for a remote group that the sender is not in",
    "client",
    "db",
    "tcp/3306",
    guilty="security_group/db",
)
def _(s: Shop) -> None:
    s.group("others")
    s.rule("sql", "db", **tcp(3306, remote_group_id=s.id("security_group/others")))


@fault(
    "a rule for IPv6 where IPv4 is meant", "outside", "web", "tcp/80", guilty="security_group/web"
)
def _(s: Shop) -> None:
    s.floating("fip", "web")
    s.rule("http", "web", **tcp(80, ethertype="IPv6"))


@fault("an ICMP rule for echo replies only (type 0)", "client", "db", guilty="security_group/db")
def _(s: Shop) -> None:
    s.delete("security_group_rule/db-0")
    s.rule("pong", "db", protocol="icmp", port_range_min=0)


@fault("the egress rules deleted", "client", "outside", guilty="security_group/client")
def _(s: Shop) -> None:
    s.no_rules("client", "egress")


@fault("a group without any rule", "client", "web", guilty="security_group/empty")
def _(s: Shop) -> None:
    s.group("empty")
    s.no_rules("empty")
    s.set("port/web", security_groups=[s.id("security_group/empty")])


@fault("no group on the port", "client", "web", "tcp/22", guilty="port/web")
def _(s: Shop) -> None:
    s.set("port/web", security_groups=[])


@fault(
    "the default group without its rule for members",
    "client",
    "db",
    guilty="security_group/default",
)
def _(s: Shop) -> None:
    found = s.request("GET", f"{NETWORKING}/security-groups", name="default")["security_groups"]
    s.ids["security_group/default"] = found[0]["id"]
    s.no_rules("default", "ingress")
    for port in ("port/client", "port/db"):
        s.set(port, security_groups=[s.id("security_group/default")])


@fault(
    "a stateless group without the rule for answers",
    "client",
    "web",
    "tcp/80",
    guilty="security_group/quick",
)
def _(s: Shop) -> None:
    s.group("quick", tcp(80), stateful=False)
    s.no_rules("quick", "egress")
    s.set("port/web", security_groups=[s.id("security_group/quick")])


# -- what is switched off


@fault("the sender's port switched off", "client", "web", guilty="port/client")
def _(s: Shop) -> None:
    s.set("port/client", admin_state_up=False)


@fault("the receiver's port switched off", "client", "web", guilty="port/web")
def _(s: Shop) -> None:
    s.set("port/web", admin_state_up=False)


@fault("the router's interface switched off", "client", "db", guilty="port/r1-front")
def _(s: Shop) -> None:
    s.set("port/r1-front", admin_state_up=False)


@fault("the router's gateway port switched off", "client", "outside", guilty="port/gateway")
def _(s: Shop) -> None:
    query = {"device_id": s.id("router/r1"), "device_owner": "network:router_gateway"}
    s.ids["port/gateway"] = s.request("GET", f"{NETWORKING}/ports", **query)["ports"][0]["id"]
    s.set("port/gateway", admin_state_up=False)


@fault("the network switched off", "client", "web", guilty="network/front")
def _(s: Shop) -> None:
    s.set("network/front", admin_state_up=False)


@fault("the router switched off", "client", "db", guilty="router/r1")
def _(s: Shop) -> None:
    s.set("router/r1", admin_state_up=False)


@fault("the instance stopped", "outside", "web", "tcp/22", guilty="server/web")
def _(s: Shop) -> None:
    s.floating("fip", "web")
    s.power("web", "stop")


@fault("the instance in ERROR", "client", "web", guilty="server/web")
def _(s: Shop) -> None:
    s.breaks("web")


# -- routers and floating IPs


@fault("no interface of the router in the receiver's subnet", "client", "db", guilty="router/r1")
def _(s: Shop) -> None:
    s.detach("r1", "back")


@fault("no external gateway", "db", "outside", guilty="router/r2")
def _(s: Shop) -> None:
    s.detach("r1", "back")
    s.router("r2", "", "back")


@fault("SNAT switched off", "db", "outside", guilty="router/r1", verdict="unknown")
def _(s: Shop) -> None:
    info = {"network_id": s.id("network/public"), "enable_snat": False}
    s.set("router/r1", external_gateway_info=info)


@fault("a floating IP that is associated with no port", "outside", "web", guilty="floatingip/fip")
def _(s: Shop) -> None:
    s.floating("fip")


@fault("the floating IP on another instance", "outside", "web", guilty="floatingip/busy")
def _(s: Shop) -> None:
    pass


@fault(
    "an instance for the world on a network without a router",
    "outside",
    "hermit",
    guilty="subnet/island",
)
def _(s: Shop) -> None:
    island(s)


@fault(
    "a floating IP on an address that DHCP does not give",
    "outside",
    "web",
    guilty="floatingip/fip",
    verdict="unknown",
)
def _(s: Shop) -> None:
    subnet = s.id("subnet/front")
    both = [{"subnet_id": subnet, "ip_address": f"10.1.0.{last}"} for last in (11, 12)]
    s.set("port/web", fixed_ips=both)
    s.floating("fip", "web", fixed_ip_address="10.1.0.12")


@fault(
    "the network host switched off before the router was made",
    "hermit",
    "outside",
    guilty="host/network1",
)
def _(s: Shop) -> None:
    island(s)
    agents = s.request("GET", f"{NETWORKING}/agents", host="network1")["agents"]
    path = f"{NETWORKING}/agents/{agents[0]['id']}"
    s.request("PUT", path, {"agent": {"admin_state_up": False}})
    s.router("r2", "public", "island")


# -- routes


@fault("a subnet without a gateway", "hermit", "db", guilty="subnet/island")
def _(s: Shop) -> None:
    s.network("island", "10.3.0.0/24", {"gateway_ip": None})
    s.group("hermit", ICMP)
    s.instance("hermit", "compute2", ("island", "10.3.0.11"), groups=("hermit",))
    s.attach("r1", "island", "10.3.0.1")


@fault("a gateway address that is not the router's", "hermit", "db", guilty="subnet/island")
def _(s: Shop) -> None:
    s.network("island", "10.3.0.0/24", {"gateway_ip": "10.3.0.254"})
    s.group("hermit", ICMP)
    s.instance("hermit", "compute2", ("island", "10.3.0.11"), groups=("hermit",))
    s.attach("r1", "island", "10.3.0.1")


@fault("a host route by an address that nobody has", "client", "db", guilty="subnet/front")
def _(s: Shop) -> None:
    s.set("subnet/front", host_routes=[{"destination": "10.2.0.0/24", "nexthop": "10.1.0.99"}])


@fault("a host route by an instance that is no router", "client", "db", guilty="subnet/front")
def _(s: Shop) -> None:
    s.set("subnet/front", host_routes=[{"destination": "10.2.0.0/24", "nexthop": "10.1.0.11"}])


@fault("an extra route by an address that nobody has", "client", "192.0.2.99", guilty="router/r1")
def _(s: Shop) -> None:
    routes(s, "r1", ("192.0.2.0/24", "10.2.0.77"))


@fault("two routers whose routes lead in a circle", "client", "192.0.2.99", guilty="router/r1")
def _(s: Shop) -> None:
    second_router(s)
    routes(s, "r1", ("192.0.2.0/24", "10.8.0.2"), ("10.3.0.0/24", "10.8.0.2"))
    routes(s, "r2", ("0.0.0.0/0", "10.8.0.1"))


@fault("no route back on the far router", "client", "hermit", guilty="router/r2")
def _(s: Shop) -> None:
    second_router(s)
    routes(s, "r1", ("10.3.0.0/24", "10.8.0.2"))


@fault(
    "a host route to a floating IP by a second router without SNAT",
    "client",
    "198.51.100.50",
    guilty="subnet/front",
)
def _(s: Shop) -> None:
    """What client sends comes to r1 from outside, from an address that r1 knows to be inside."""
    s.floating("fip", "db", floating_ip_address="198.51.100.50")
    s.router("r2", "public")
    info = {"network_id": s.id("network/public"), "enable_snat": False}
    s.set("router/r2", external_gateway_info=info)
    s.attach("r2", "front", "10.1.0.9")
    s.set("subnet/front", host_routes=[{"destination": "198.51.100.0/24", "nexthop": "10.1.0.9"}])


# -- addresses, DHCP, size


@fault("DHCP switched off", "client", "web", guilty="subnet/front", verdict="unknown")
def _(s: Shop) -> None:
    s.set("subnet/front", enable_dhcp=False)


@fault("the MTU lowered on one side", "client", "db", guilty="network/back", size=1400)
def _(s: Shop) -> None:
    s.set("network/back", mtu=1300)


@fault("a port that no instance has", "client", "loose", guilty="port/loose")
def _(s: Shop) -> None:
    fixed = [{"subnet_id": s.id("subnet/front"), "ip_address": "10.1.0.50"}]
    group = [s.id("security_group/web")]
    s.make(
        "port", "loose", network_id=s.id("network/front"), fixed_ips=fixed, security_groups=group
    )


@fault(
    "a virtual address behind rules that let nobody in",
    "client",
    "10.1.0.50",
    "tcp/80",
    guilty="security_group/web",
    after="unknown",
)
def _(s: Shop) -> None:
    fixed = [{"subnet_id": s.id("subnet/front"), "ip_address": "10.1.0.50"}]
    s.make("port", "vip", network_id=s.id("network/front"), fixed_ips=fixed)
    s.set("port/web", allowed_address_pairs=[{"ip_address": "10.1.0.50"}])


@fault(
    "port security on an instance that forwards",
    "client",
    "hermit",
    guilty="port/wall-island",
    after="unknown",
)
def _(s: Shop) -> None:
    island(s)
    s.group("wall", {"protocol": None})
    cards = (("front", "10.1.0.20"), ("island", "10.3.0.1"))
    s.instance("wall", "compute2", *cards, groups=("wall",))
    s.set("subnet/front", host_routes=[{"destination": "10.3.0.0/24", "nexthop": "10.1.0.20"}])
