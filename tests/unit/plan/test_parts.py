"""A plan kept up part by part is the plan of the view; what changes little costs little."""

from __future__ import annotations

import msgspec
import pytest
from hypothesis import Phase, given, settings
from hypothesis import strategies as st
from msgspec import UNSET

from netloom.model import (
    AddressGroup,
    AddressPair,
    Chassis,
    DhcpOption,
    FixedIP,
    Flavor,
    FloatingIP,
    Gateway,
    HostFacts,
    HostView,
    Image,
    Network,
    Port,
    PortForwarding,
    QosPolicy,
    Replica,
    Router,
    SecurityGroup,
    SecurityGroupRule,
    Server,
    Subnet,
)
from netloom.model.qos import PolicyRule
from netloom.plan import Parts, plan
from tests.support import worlds

HOSTS = ("h1", "h2", "h3")
NETWORKS, GROUPS, ROUTERS, SERVERS = ("n1", "n2", "wire"), ("g1", "g2", "g3"), ("r1", "r2"), "st"
PORTS = "abcdefgh"
LISTS = ("l1", "l2")
LISTED = ("0.0.0.0/0", "10.0.0.0/24", "10.0.0.11/32", "10.0.0.12/31", "::/0", "2001:db8::/64")
OWNERS = (
    *("compute:nova",) * 5,
    "network:dhcp",
    "network:router_interface",
    *("network:router_interface_distributed",) * 2,
    "network:router_centralized_snat",
    "network:router_gateway",
    "network:floatingip",
    "network:router_ha_interface",
)
PAIRS = (
    ("10.0.0.10", ""),
    ("10.0.0.11", "fa:16:3e:00:00:0b"),
    ("10.0.0.0/24", ""),
    ("10.0.0.12/31", "00-00-5E-00-01-01"),
    ("0.0.0.0/0", ""),
    ("2001:db8::/64", ""),
)


def rarely(what):
    return st.lists(what, max_size=1).map(tuple)


def port(
    number, network, host, groups, owner, router, pairs, secure, up, name, options, policy=None
):
    """Each port has its own MAC and address, as the API sees to."""
    dhcp = f"dhcp-{network}" if owner == "network:dhcp" else router
    return Port(
        id=PORTS[number],
        name=name,
        network_id=network,
        mac_address=f"fa:16:3e:00:00:{10 + number:02x}",
        key=number + 1,
        fixed_ips=(FixedIP(f"s-{network}", f"10.0.0.{10 + number}"),),
        host=host,
        security_groups=() if not secure else tuple(sorted(groups)),
        device_owner=owner,
        entry=host if owner == "network:floatingip" else "",
        device_id=dhcp,
        port_security_enabled=secure,
        allowed_address_pairs=tuple(AddressPair(*pair) for pair in pairs) if secure else (),
        admin_state_up=up,
        extra_dhcp_opts=options,
        qos_policy_id=policy,
    )


def rule_of(id, group, direction, remote, listed, prefix, protocol, ethertype):
    prefix = None if remote or listed else prefix
    return SecurityGroupRule(
        id=id,
        security_group_id=group,
        direction=direction,
        remote_group_id=remote,
        remote_address_group_id=None if remote else listed,
        remote_ip_prefix=prefix if ethertype == "IPv4" else None,
        protocol=protocol,
        port_range_min=22 if protocol == "tcp" else None,
        ethertype=ethertype,
    )


def network(id, up, mtu, name, policy=None):
    wire = id == "wire"
    return Network(
        id=id,
        name=name,
        key=NETWORKS.index(id) + 1,
        network_type="vlan" if wire else "vxlan",
        physical_network="extnet" if wire else None,
        segmentation_id=100 + NETWORKS.index(id),
        admin_state_up=up,
        mtu=mtu,
        qos_policy_id=policy,
    )


def qos_policy(id, name, rules):
    return QosPolicy(id=id, name=name, rules=rules)


def subnet(network, dhcp, gateway):
    return Subnet(
        id=f"s-{network}",
        network_id=network,
        cidr="10.0.0.0/24",
        enable_dhcp=dhcp,
        gateway_ip=gateway,
    )


def router(id, hosts, up, snat, spread, policy=None):
    info = Gateway(network_id="wire", enable_snat=snat, qos_policy_id=policy or UNSET)
    return Router(
        id=id,
        replicas=tuple(map(Replica, hosts)),
        admin_state_up=up,
        external_gateway_info=info,
        distributed=spread,
        ha=len(hosts) > 1,
        vrid=9 if len(hosts) > 1 else 0,
    )


def floatingip(number, port, router, own, policy=None):
    return FloatingIP(
        id=f"f{number}",
        floating_network_id="wire",
        floating_ip_address=f"198.51.100.{number}",
        floating_port_id=own,
        port_id=port,
        fixed_ip_address="10.0.0.10",
        router_id=router,
        qos_policy_id=policy,
    )


def forwarding(id, number, router, ports, to):
    return PortForwarding(
        id=id,
        floatingip_id=f"f{number}",
        router_id=router,
        protocol="tcp",
        internal_port_id="x",
        internal_ip_address="10.0.0.10",
        internal_port_range=to,
        external_port_range=ports,
    )


def server(id, host, ports, hostname, created):
    return Server(
        id=id,
        user_id="u",
        image_id="image",
        flavor=Flavor(id="1"),
        host=host,
        port_ids=tuple(ports),
        hostname=hostname,
        created_at=created,
    )


BOOL, NAME = st.booleans(), st.sampled_from(("", "x"))
HOST = st.sampled_from(("h1", "h1", "h2", "h3", ""))
SOME_HOSTS = st.sampled_from(
    [(), ("h1",), ("h1",), ("h2",), ("h1", "h2"), ("h3", "h1"), ("h2", "h3")]
)
POLICY = st.sampled_from((None, None, "p1", "p2"))
RULES_OF_POLICIES = (
    PolicyRule(id="1", type="bandwidth_limit", direction="egress", max_kbps=1000),
    PolicyRule(id="2", type="bandwidth_limit", direction="ingress", max_kbps=50, max_burst_kbps=9),
    PolicyRule(id="3", type="packet_rate_limit", direction="egress", max_kpps=1),
    PolicyRule(id="4", type="packet_rate_limit", direction="ingress", max_kpps=2),
    PolicyRule(id="5", type="dscp_marking", dscp_mark=26),
    PolicyRule(id="6", type="minimum_bandwidth", direction="egress", min_kbps=2),
)
OPTION = st.builds(DhcpOption, st.sampled_from(("mtu", "junk")), st.just("1400"))
ROWS = {
    "ports": st.builds(
        port,
        number=st.integers(0, len(PORTS) - 1),
        network=st.sampled_from(NETWORKS),
        host=HOST,
        groups=st.sets(st.sampled_from(GROUPS), max_size=2),
        owner=st.sampled_from(OWNERS),
        router=st.sampled_from(ROUTERS),
        pairs=rarely(st.sampled_from(PAIRS)),
        secure=st.sampled_from((True, True, True, False)),
        up=st.sampled_from((True, True, True, False)),
        name=NAME,
        options=rarely(OPTION),
        policy=POLICY,
    ),
    "networks": st.builds(
        network,
        id=st.sampled_from(NETWORKS),
        up=st.sampled_from((True, True, False)),
        mtu=st.sampled_from((1400, 1450)),
        name=NAME,
        policy=POLICY,
    ),
    "qos_policies": st.builds(
        qos_policy,
        id=st.sampled_from(("p1", "p2")),
        name=NAME,
        rules=st.lists(st.sampled_from(RULES_OF_POLICIES), max_size=3, unique=True).map(tuple),
    ),
    "subnets": st.builds(
        subnet,
        network=st.sampled_from(NETWORKS),
        dhcp=BOOL,
        gateway=st.none() | st.just("10.0.0.1"),
    ),
    "routers": st.builds(
        router, id=st.sampled_from(ROUTERS), hosts=SOME_HOSTS, up=BOOL, snat=BOOL, spread=BOOL
    ),
    "floatingips": st.builds(
        floatingip,
        number=st.integers(1, 3),
        port=st.none() | st.sampled_from(PORTS),
        router=st.none() | st.sampled_from(ROUTERS),
        own=st.sampled_from(("x", *PORTS)),
    ),
    "port_forwardings": st.builds(
        forwarding,
        id=st.sampled_from("xyz"),
        number=st.integers(1, 3),
        router=st.sampled_from(ROUTERS),
        ports=st.sampled_from(("80:80", "100:110")),
        to=st.sampled_from(("80:80", "200:210")),
    ),
    "security_groups": st.builds(SecurityGroup, id=st.sampled_from(GROUPS), stateful=BOOL),
    "security_group_rules": st.builds(
        rule_of,
        id=st.sampled_from("uvwxyz"),
        group=st.sampled_from(GROUPS),
        direction=st.sampled_from(("ingress", "egress")),
        remote=st.none() | st.sampled_from(GROUPS),
        listed=st.none() | st.sampled_from(LISTS),
        prefix=st.none() | st.sampled_from(("10.0.0.11/32", "10.0.0.0/24", "0.0.0.0/0")),
        protocol=st.sampled_from((None, "tcp", "udp", "nonsense")),
        ethertype=st.sampled_from(("IPv4", "IPv4", "IPv6")),
    ),
    "address_groups": st.builds(
        AddressGroup,
        id=st.sampled_from(LISTS),
        addresses=st.sets(st.sampled_from(LISTED), max_size=3).map(tuple),
    ),
    "servers": st.builds(
        server,
        id=st.sampled_from(SERVERS),
        host=HOST,
        ports=st.lists(st.sampled_from(PORTS), max_size=2, unique=True),
        hostname=st.sampled_from(("web", "Web", "web.x", "host-1", "")),
        created=st.sampled_from(("1", "2")),
    ),
    "images": st.builds(
        Image, id=st.just("image"), disk_format=st.sampled_from((None, "raw", "qcow2"))
    ),
    "chassis": st.builds(
        Chassis,
        host=st.sampled_from(HOSTS),
        tunnel_ip=st.none() | st.sampled_from(("192.0.2.1", "192.0.2.9")),
    ),
}
WEIGHTS = {"ports": 6, "security_group_rules": 3, "networks": 2, "subnets": 2, "servers": 2}
CHANGE = st.one_of(
    *(
        st.tuples(st.just(table), rows)
        for table, rows in ROWS.items()
        for _ in range(WEIGHTS.get(table, 1))
    ),
    *(
        st.tuples(
            st.just(table), st.sampled_from((*PORTS, *NETWORKS, *GROUPS, *LISTS, *"uvwxyz", *HOSTS))
        )
        for table in ROWS
    ),
)
STEPS = st.lists(st.lists(CHANGE, min_size=1, max_size=4), min_size=20, max_size=40)
FACTS = HostFacts(
    host="h1", tunnel_ip="192.0.2.1", bridge_mappings={"extnet": "br-ex"}, roles=("network",)
)


def changed(view: HostView, changes) -> tuple[HostView, dict[str, set[str]]]:
    """The view after changes: rows are put, ids are taken out."""
    tables: dict[str, dict] = {}
    names: dict[str, set[str]] = {}
    for table, what in changes:
        rows = tables.setdefault(table, dict(getattr(view, table)))
        ident = what if isinstance(what, str) else getattr(what, "id", None) or what.host
        if isinstance(what, str):
            rows.pop(what, None)
        else:
            rows[ident] = what
        names.setdefault(table, set()).add(ident)
    return msgspec.structs.replace(view, **tables), names


def outcome(function, *args):
    """What a function returns, or the mistake that ends it."""
    try:
        return function(*args)
    except Exception as error:
        return type(error)


@settings(max_examples=60, deadline=None, derandomize=True, database=None, phases=(Phase.generate,))
@given(STEPS, st.booleans(), st.sampled_from(("ovs", "linuxbridge")))
def test_parts_that_are_kept_up_are_the_whole_plan(steps, told, backend):
    view = HostView(seq=0, facts=msgspec.structs.replace(FACTS, backend=backend))
    for name in NETWORKS:
        start = [("networks", network(name, True, 1450, "")), ("subnets", subnet(name, True, None))]
        view, _ = changed(view, start)
    parts = Parts(view)
    state = parts.state
    for changes in steps:
        view, names = changed(view, changes)
        whole = outcome(plan, view)
        delta = outcome(parts.follow, view, names if told else None)
        if isinstance(whole, type):
            assert delta == whole
            return
        was, state = state, parts.state
        assert state == whole, changes
        objects = {key: item for key, item in was.objects.items() if key not in delta.gone}
        assert objects | delta.put == dict(state.objects)
        assert all(was.objects[key] == item for key, item in delta.gone.items())
        assert all(was.objects.get(key) != item for key, item in delta.put.items())


def test_the_order_of_changes_leaves_no_trace():
    """Names that nobody plans by, and changes that are taken back, leave everything as it was."""
    view = worlds.walkthrough_b().view("network1")
    parts = Parts(view)
    before, planned = parts.state, parts.planned
    renamed, names = changed(
        view, [("ports", msgspec.structs.replace(p, name="new")) for p in view.ports.values()]
    )
    assert not parts.follow(renamed, names)
    assert parts.planned == planned
    without, names = changed(renamed, [("ports", ident) for ident in view.ports])
    assert parts.follow(without, names)
    assert parts.follow(renamed, names)
    assert parts.state == before


def big(local: int, elsewhere: int, more: int = 0) -> worlds.World:
    """A network with ports here and on another host, all of one default group."""
    world = worlds.World()
    world.host("h1")
    world.host("h2")
    world.network("net")
    world.subnet("sub", "net", "10.0.0.0/16")
    world.default_group("sg")
    for number in range(local + elsewhere + more):
        address = f"10.0.{1 + number // 250}.{number % 250 + 1}"
        host = "h1" if number < local or number >= local + elsewhere else "h2"
        port = world.port(f"{number:08}", "net", [("sub", address)], security_groups=("sg",))
        world.server(f"vm{number:08}", host, port)
    return world


@pytest.mark.parametrize("backend", ["ovs", "linuxbridge"])
@pytest.mark.parametrize("here", [True, False], ids=["here", "elsewhere"])
def test_one_more_port_plans_as_much_on_a_big_host_as_on_a_small_one(here, backend):
    counts, sizes = [], []
    for others in (3, 60):
        world = big(others, others)
        world.hosts["h1"] = msgspec.structs.replace(world.hosts["h1"], backend=backend)
        view = world.view("h1")
        parts = Parts(view)
        planned = parts.planned
        extra = world.port("zzz", "net", [("sub", "10.0.200.1")], security_groups=("sg",))
        host = "h1" if here else "h2"
        new = msgspec.structs.replace(extra, host=host, device_owner="compute:nova")
        delta = parts.follow(*changed(view, [("ports", new)]))
        counts.append(parts.planned - planned)
        sizes.append((len(delta.put), len(delta.gone)))
    assert counts[0] == counts[1] and sizes[0] == sizes[1]
    assert counts[1] <= 4
