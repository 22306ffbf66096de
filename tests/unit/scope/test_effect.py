"""What a change is said to do to views is what it does: no host is forgotten, no row left stale."""

from hypothesis import Phase, given, settings
from hypothesis import strategies as st
from msgspec import UNSET

from netloom.model import (
    AddressGroup,
    FixedIP,
    Flavor,
    FloatingIP,
    Gateway,
    HostFacts,
    Image,
    Network,
    Port,
    QosPolicy,
    Replica,
    Router,
    SecurityGroup,
    SecurityGroupRule,
    Server,
    Subnet,
)
from netloom.model.names import (
    OWNER_DHCP,
    OWNER_DISTRIBUTED,
    OWNER_FLOATING_IP,
    OWNER_ROUTER_GATEWAY,
    OWNER_ROUTER_INTERFACE,
)
from netloom.scope import Inventory
from netloom.scope.effect import Concern, fresh_rows
from netloom.scope.select import tables
from tests.unit.scope import by_hand

HOSTS = ("h1", "h2", "h3")
FEW = st.sampled_from("ab")
MAYBE = st.none() | FEW
HOST = st.sampled_from(("", *HOSTS))
REPLICAS = st.lists(st.sampled_from(HOSTS), max_size=2, unique=True).map(
    lambda hosts: tuple(map(Replica, hosts))
)
PORT = st.sampled_from("pqrs")
GROUPS = st.sampled_from(((), ("a",), ("b",), ("a", "b")))
OWNER = st.sampled_from(
    ("compute:nova",) * 3
    + (OWNER_DHCP, OWNER_ROUTER_INTERFACE, OWNER_ROUTER_GATEWAY, OWNER_FLOATING_IP)
    + (OWNER_DISTRIBUTED,) * 2
)
VERSION = st.sampled_from(("1", "2"))
POLICY = st.sampled_from((None, None, "p1", "p2"))


def port(id, network, host, groups, owner, router, name, policy):
    fixed = (FixedIP(network, "10.0.0.1"),)
    more = {
        "security_groups": groups,
        "device_owner": owner,
        "device_id": router,
        "name": name,
        "entry": host,
        "qos_policy_id": policy,
    }
    return Port(id=id, network_id=network, mac_address="fa:1", fixed_ips=fixed, host=host, **more)


def floatingip(id, inside, router, name, policy):
    more = {
        "qos_policy_id": policy,
        "floating_port_id": "x",
        "floating_ip_address": "203.0.113.1",
        "floating_network_id": "a",
    }
    return FloatingIP(id=id, port_id=inside, router_id=router, name=name, **more)


def router(id, replicas, name, policy):
    info = Gateway(network_id="a", qos_policy_id=policy or UNSET)
    return Router(id=id, replicas=replicas, name=name, external_gateway_info=info)


def group_rule(id, group, remote, listed):
    return SecurityGroupRule(
        id=id,
        security_group_id=group,
        remote_group_id=remote,
        remote_address_group_id=listed,
        direction="ingress",
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
    policy=POLICY,
)
CHANGES = st.one_of(
    PORTS,
    PORTS,
    PORTS,
    row("networks", Network, id=FEW, name=VERSION, qos_policy_id=POLICY),
    row("qos_policies", QosPolicy, id=st.sampled_from(("p1", "p2")), name=VERSION),
    row("subnets", Subnet, id=FEW, network_id=FEW, cidr=st.just("10.0.0.0/24"), name=VERSION),
    row("routers", router, id=FEW, replicas=REPLICAS, name=VERSION, policy=POLICY),
    row("floatingips", floatingip, id=FEW, inside=PORT, router=MAYBE, name=VERSION, policy=POLICY),
    row("security_groups", SecurityGroup, id=FEW, name=VERSION),
    row(
        "security_group_rules",
        group_rule,
        id=st.sampled_from("xy"),
        group=FEW,
        remote=MAYBE,
        listed=MAYBE,
    ),
    row("address_groups", AddressGroup, id=FEW, name=VERSION),
    row("servers", server, id=FEW, image=FEW, host=HOST, ports=st.lists(PORT, max_size=2)),
    row("images", Image, id=FEW, name=VERSION),
    st.tuples(
        st.sampled_from(
            ("ports", "routers", "floatingips", "security_group_rules", "address_groups", "servers")
        ),
        PORT | FEW,
    ),
    st.tuples(st.just("facts"), st.sampled_from(HOSTS), VERSION),
)


def planned(what):
    """A change as the scope takes it: (table, id, row or None)."""
    table, what, *more = what
    if table == "facts":
        return table, what, HostFacts(host=what, tunnel_ip=f"192.0.2.{more[0]}")
    if isinstance(what, str):
        return table, what, None
    return table, what.id, what


def patch(view, rows):
    """Carry out what a change is said to do to a view's tables."""
    for (table, id), row in rows.items():
        view[table].pop(id, None)
        if row is not None:
            view[table][id] = row


def fresh(world):
    """The same world, built anew."""
    other = Inventory()
    other.facts = dict(world.facts)
    for table in ("ports", "routers", "networks", "subnets", "floatingips", "security_groups"):
        for item in world.table(table).values():
            other.put(table, item)
    for table in ("security_group_rules", "address_groups", "servers", "images", "qos_policies"):
        for item in world.table(table).values():
            other.put(table, item)
    return other


def looked_after():
    """An empty inventory, and what its hosts need."""
    inventory, concern = Inventory(), Concern()
    for host in HOSTS:
        concern.take_in(inventory, host)
    return inventory, concern


# As in test_stream: the same changes in every run, no long search when one fails.
@settings(
    max_examples=150, deadline=None, derandomize=True, database=None, phases=(Phase.generate,)
)
@given(st.lists(st.lists(CHANGES, min_size=1, max_size=3), min_size=20, max_size=40))
def test_views_that_are_patched_are_those_of_a_fresh_look(steps):
    inventory, concern = looked_after()
    views = {host: tables(inventory, host) for host in HOSTS}
    for step in steps:
        changed = concern.change(inventory, [planned(what) for what in step])
        for host in HOSTS:
            patch(views[host], fresh_rows(inventory, concern.covers(host), changed.get(host, ())))
            assert views[host] == tables(inventory, host), (step, host)
    rebuilt = fresh(inventory)
    assert {host: tables(rebuilt, host) for host in HOSTS} == views


@settings(
    max_examples=100, deadline=None, derandomize=True, database=None, phases=(Phase.generate,)
)
@given(st.lists(CHANGES, min_size=25, max_size=60))
def test_no_host_is_forgotten_that_a_rule_written_by_hand_names(changes):
    inventory, concern = looked_after()
    for what in changes:
        table, id, row = planned(what)
        if table == "facts":
            named = by_hand.neighbours(inventory, id)
            assert set(concern.change(inventory, [(table, id, row)])) >= named, what
            continue
        old = inventory.table(table).get(id)
        named = by_hand.concerned(inventory, table, old) if old is not None else set()
        found = set(concern.change(inventory, [(table, id, row)]))
        if row is not None:
            named |= by_hand.concerned(inventory, table, row)
        assert found >= named, what


def test_one_more_port_concerns_its_row_alone_however_large_the_network_is():
    """No host's needs are worked out again, and each host's view differs in one row."""
    inventory, concern = Inventory(), Concern()
    for n in range(300):
        at = {"network_id": "a", "mac_address": "fa:1", "host": HOSTS[n % 3]}
        inventory.put("ports", Port(id=f"{n}", **at))
    for host in HOSTS:
        concern.take_in(inventory, host)
    more = Port(id="more", network_id="a", mac_address="fa:1", host="h1")
    found = concern.change(inventory, [("ports", "more", more)])
    assert found == {host: {("ports", "more")} for host in HOSTS}
    assert inventory.put("ports", more) == set(), "no set has another member"
