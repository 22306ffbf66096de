"""What a change is said to do to views is what it does: no host is forgotten, no row left stale."""

from hypothesis import Phase, given, settings
from hypothesis import strategies as st

from netloom.model import (
    FixedIP,
    Flavor,
    FloatingIP,
    HostFacts,
    Image,
    Network,
    Port,
    Router,
    SecurityGroup,
    SecurityGroupRule,
    Server,
    Subnet,
)
from netloom.model.names import OWNER_DHCP, OWNER_ROUTER_GATEWAY, OWNER_ROUTER_INTERFACE
from netloom.scope import Inventory, select
from netloom.scope.effect import Effect, neighbours, replace

HOSTS = ("h1", "h2", "h3")
FEW = st.sampled_from("ab")
MAYBE = st.none() | FEW
HOST = st.sampled_from(("", *HOSTS))
PORT = st.sampled_from("pqrs")
GROUPS = st.sampled_from(((), ("a",), ("b",), ("a", "b")))
OWNER = st.sampled_from(
    ("compute:nova",) * 3 + (OWNER_DHCP, OWNER_ROUTER_INTERFACE, OWNER_ROUTER_GATEWAY)
)
VERSION = st.sampled_from(("1", "2"))


def port(id, network, host, groups, owner, router, name):
    fixed = (FixedIP(network, "10.0.0.1"),)
    more = {"security_groups": groups, "device_owner": owner, "device_id": router, "name": name}
    return Port(id=id, network_id=network, mac_address="fa:1", fixed_ips=fixed, host=host, **more)


def floatingip(id, inside, router, name):
    more = {
        "floating_port_id": "x",
        "floating_ip_address": "203.0.113.1",
        "floating_network_id": "a",
    }
    return FloatingIP(id=id, port_id=inside, router_id=router, name=name, **more)


def group_rule(id, group, remote):
    return SecurityGroupRule(
        id=id, security_group_id=group, remote_group_id=remote, direction="ingress"
    )


def server(id, image, host, ports):
    flavor = Flavor(id="1")
    return Server(
        id=id, user_id="u", image_id=image, host=host, flavor=flavor, port_ids=tuple(ports)
    )


def row(table, make, **fields):
    return st.tuples(st.just(table), st.builds(make, **fields))


PORTS = row(
    "ports",
    port,
    id=PORT,
    network=FEW,
    host=HOST,
    groups=GROUPS,
    owner=OWNER,
    router=FEW,
    name=VERSION,
)
CHANGES = st.one_of(
    PORTS,
    PORTS,
    PORTS,
    row("networks", Network, id=FEW, name=VERSION),
    row("subnets", Subnet, id=FEW, network_id=FEW, cidr=st.just("10.0.0.0/24"), name=VERSION),
    row("routers", Router, id=FEW, host=HOST, name=VERSION),
    row("floatingips", floatingip, id=FEW, inside=PORT, router=MAYBE, name=VERSION),
    row("security_groups", SecurityGroup, id=FEW, name=VERSION),
    row("security_group_rules", group_rule, id=st.sampled_from("xy"), group=FEW, remote=MAYBE),
    row("servers", server, id=FEW, image=FEW, host=HOST, ports=st.lists(PORT, max_size=2)),
    row("images", Image, id=FEW, name=VERSION),
    st.tuples(
        st.sampled_from(("ports", "routers", "floatingips", "security_group_rules", "servers")),
        PORT | FEW,
    ),
    st.tuples(st.just("facts"), st.sampled_from(HOSTS), VERSION),
)


def change(world, what):
    """Carry out one change; returns what it is said to do to views."""
    table, what, *more = what
    if table == "facts":
        world.facts[what] = HostFacts(host=what, tunnel_ip=f"192.0.2.{more[0]}")
        return Effect(again=neighbours(world, what))
    if isinstance(what, str):
        return replace(world, table, what, None)
    return replace(world, table, what.id, what)


def patch(ports, changed):
    ports.update({id: port for id, port in changed.items() if port is not None})
    for id in [id for id, port in changed.items() if port is None]:
        del ports[id]


def fresh(world):
    """The same world, built anew."""
    other = Inventory()
    other.facts = dict(world.facts)
    for table in ("ports", "routers", "networks", "subnets", "floatingips", "security_groups"):
        for item in world.table(table).values():
            other.put(table, item)
    for table in ("security_group_rules", "servers", "images"):
        for item in world.table(table).values():
            other.put(table, item)
    return other


# As in test_stream: the same changes in every run, no long search when one fails.
@settings(
    max_examples=150, deadline=None, derandomize=True, database=None, phases=(Phase.generate,)
)
@given(st.lists(CHANGES, min_size=25, max_size=60))
def test_a_change_alters_only_views_of_hosts_it_concerns(changes):
    world = Inventory()
    views = {host: select(world, host) for host in HOSTS}
    for what in changes:
        effect = change(world, what)
        for host in HOSTS:
            view = select(world, host)
            if host not in effect.again:
                patch(views[host].ports, effect.ports.get(host, {}))
                assert view == views[host], (what, host)
            views[host] = view
    rebuilt = fresh(world)
    assert {host: select(rebuilt, host) for host in HOSTS} == views
