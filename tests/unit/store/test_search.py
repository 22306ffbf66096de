"""Pages of lists: the same as a naive search finds, from an index, at a cost that depends on the page alone."""

import random
import re
from functools import cmp_to_key

import pytest

from netloom.model import FixedIP, Network, Port, Router, SecurityGroup, Subnet
from netloom.store import SEEN_BY, Filter, Page, Store, fields
from netloom.store.inserting import insert_all

NETWORKS = [Network(id=f"n{i}", project_id="ab"[i % 2]) for i in range(4)]
SUBNETS = [Subnet(id=f"s{i}", network_id=f"n{i}", cidr="10.0.0.0/24") for i in range(4)]
GROUPS = [SecurityGroup(id=f"g{i}") for i in range(2)]
STATUSES = ("ACTIVE", "DOWN", "ERROR")


def some_port(pick, number):
    network = pick.randrange(4)
    return Port(
        id=f"{pick.getrandbits(32):08x}-{number}",
        project_id=pick.choice("abc"),
        name=pick.choice(("", "", "x", "y", "zz")),
        tags=tuple(pick.sample(("red", "green", "blue"), pick.randrange(3))),
        network_id=f"n{network}",
        mac_address=f"fa:{pick.randrange(5)}",
        admin_state_up=pick.random() < 0.8,
        fixed_ips=tuple(
            FixedIP(f"s{pick.randrange(4)}", f"10.0.{pick.randrange(3)}.{pick.randrange(12)}")
            for _ in range(pick.randrange(3))
        ),
        device_id=pick.choice(("", "vm1", "vm2")),
        host=pick.choice(("", "h1")),
        security_groups=tuple(f"g{i}" for i in range(2) if pick.random() < 0.4),
    )


def filled(tmp_path, count, pick):
    store = Store.open(f"sqlite:///{tmp_path}/{count}.db")
    store.upgrade()
    ports = [some_port(pick, number) for number in range(count)]
    with store.transaction() as session:
        insert_all(session, [*NETWORKS, *SUBNETS, *GROUPS, *ports], (), 1)
    with store.writer() as w:
        states = {port.id: pick.choice(STATUSES) for port in ports}
        for id, state in states.items():
            w.set_api_status(Port, id, state)
    return store, ports, states


SOME = (
    Filter("name", ("x",)),
    Filter("name", ("", "y")),
    Filter("status", ("DOWN",)),
    Filter("status", ("DOWN", "ERROR")),
    Filter("project_id", ("a",)),
    Filter("admin_state_up", (False,)),
    Filter("mac_address", ("fa:1", "fa:9")),
    Filter("device_id", ("vm1",)),
    Filter("network_id", ("n1", "n2")),
    Filter("network_id", ("n1",), "none"),
    Filter("tag", ("red",)),
    Filter("tag", ("red", "blue")),
    Filter("tag", ("red", "blue"), "all"),
    Filter("tag", ("red", "blue"), "not_all"),
    Filter("tag", ("green",), "none"),
    Filter("fixed_ip", ("10.0.1.1",)),
    Filter("fixed_ip", (".1",), "part"),
    Filter("fixed_ip", (".2.", ".11"), "part"),
    Filter("subnet_id", ("s1",)),
    Filter("security_group_id", ("g0",)),
    Filter("security_group_id", ("g0", "g1")),
    Filter(SEEN_BY, ("a",)),
    Filter("fixed_ips", (("subnet_id", ("s0", "s1")), ("~ip_address", (".1.",))), "entry"),
    Filter("name", ()),
)


def meets(port, status, asked):
    """The naive answer."""
    if asked.op == "entry":
        return any(
            fixed.subnet_id in asked.values[0][1]
            and any(part in fixed.ip_address for part in asked.values[1][1])
            for fixed in port.fixed_ips
        )
    owner = {network.id: network.project_id for network in NETWORKS}[port.network_id]
    has = {
        "tag": set(port.tags),
        "fixed_ip": {fixed.ip_address for fixed in port.fixed_ips},
        "subnet_id": {fixed.subnet_id for fixed in port.fixed_ips},
        "security_group_id": set(port.security_groups),
        "status": {status},
        SEEN_BY: {owner} - {port.project_id},
    }.get(asked.field) or ({getattr(port, asked.field)} if hasattr(port, asked.field) else set())
    values = set(asked.values)
    if asked.op == "part":
        return any(part in value for part in values for value in has)
    return {
        "any": bool(has & values),
        "none": not has & values,
        "all": values <= has,
        "not_all": not values <= has,
    }[asked.op]


def in_order(order):
    def compare(one, other):
        for field, up in order:
            first, second = one[field], other[field]
            if first != second:
                return (-1 if first < second else 1) * (1 if up else -1)
        return 0

    return cmp_to_key(compare)


@pytest.mark.parametrize("seed", range(4))
def test_pages_are_what_a_naive_search_finds(tmp_path, seed):
    pick = random.Random(seed)
    store, ports, states = filled(tmp_path, 250, pick)
    with store.reader() as r:
        for _ in range(60):
            alternatives = [
                pick.sample(SOME, pick.randrange(3)) for _ in range(pick.choice((1, 1, 2)))
            ]
            keys = pick.sample(
                ("name", "status", "mac_address", "device_id", "network_id"), pick.randrange(3)
            )
            order = (*((key, pick.random() < 0.5) for key in keys), ("id", pick.random() < 0.7))
            wanted = [
                {"id": port.id, "status": states[port.id]}
                | {k: getattr(port, k) for k in keys if k != "status"}
                for port in ports
                if any(all(meets(port, states[port.id], f) for f in each) for each in alternatives)
            ]
            wanted.sort(key=in_order(order))
            whole = [found.obj.id for found in r.search(Port, alternatives, Page(order))]
            assert whole == [row["id"] for row in wanted], alternatives
            limit = pick.choice((7, 40, 1000))
            pages, after = [], None
            while page := r.search(Port, alternatives, Page(order, limit, after)):
                pages += [found.obj.id for found in page]
                after = tuple(page[-1].value(field) for field, _ in order)
                assert len(page) <= limit
            assert pages == whole, (alternatives, order)
            if whole:
                last = tuple(wanted[-1][field] for field, _ in order)
                back = r.search(Port, alternatives, Page(order, limit, last).turned())
                assert [found.obj.id for found in back] == whole[:-1][::-1][:limit]
    store.close()


def test_null_comes_first_and_is_passed_by_pages(store):
    with store.writer() as w:
        for id, gateway in (("a", None), ("b", "10.0.0.2"), ("c", None), ("d", "10.0.0.1")):
            w.insert(Network(id=id))
            w.insert(Subnet(id=id, network_id=id, cidr="10.0.0.0/24", gateway_ip=gateway))
    for up, expected in ((True, "acdb"), (False, "bdac")):
        order, found, after = (("gateway_ip", up), ("id", True)), "", None
        with store.reader() as r:
            while page := r.search(Subnet, [()], Page(order, 1, after)):
                found += page[0].obj.id
                after = (page[0].obj.gateway_ip, page[0].obj.id)
        assert found == expected


BY_ID = (("id", True),)
INDEXES = (
    ((), BY_ID, "sqlite_autoindex_resource_1"),
    ((), (("name", True), ("id", True)), "resource_name"),
    ((), (("status", False), ("id", True)), "resource_status"),
    ((), (("mac_address", False), ("id", True)), "port_mac_address"),
    ((Filter("status", ("DOWN",)),), BY_ID, "resource_status"),
    ((Filter("tag", ("x",)),), BY_ID, "term_value"),
    ((Filter("fixed_ip", ("x",)),), BY_ID, "term_value"),
    ((Filter("fixed_ip", ("x",), "part"),), BY_ID, "term_value"),
    ((Filter("security_group_id", ("x",)),), BY_ID, "link_target"),
    ((Filter(SEEN_BY, ("x",)),), BY_ID, "term_value"),
    ((Filter("project_id", ("x",)),), BY_ID, "resource_project"),
    ((Filter("project_id", ("x",)),), (("name", False), ("id", True)), "resource_project_name"),
    ((Filter("project_id", ("x",)), Filter("status", ("x",))), BY_ID, "resource_project_status"),
    ((Filter("project_id", ("x",)), Filter("device_id", ("x",))), BY_ID, "port_device_id"),
    ((Filter(SEEN_BY, ("x",)), Filter("mac_address", ("x",))), BY_ID, "port_mac_address"),
    ((Filter("device_id", ("x",)),), (("name", True), ("id", True)), "port_device_id"),
)


@pytest.mark.parametrize(("asked", "order", "index"), INDEXES)
@pytest.mark.parametrize("after", [False, True])
def test_each_sort_of_page_has_its_index(store, asked, order, index, after):
    with store.reader() as r:
        page = Page(order, 20, ("m",) * len(order) if after else None)
        plan = r.explain(Port, asked, page)
    if asked and asked[0].op == "part":
        return
    first = next(line for line in plan.splitlines() if line.startswith(("SEARCH", "SCAN")))
    assert re.search(rf"INDEX {index}\b", plan) and "SCAN term" not in plan
    # Along the whole index of the order is how a page begins; along the table is not.
    assert "SCAN resource" not in plan.replace("SCAN resource USING INDEX", ""), plan
    assert "resource" not in first or index in first, plan


def steps(store, work):
    """How many instructions of its machine SQLite carries out, in hundreds."""
    with store.reader() as r:
        counted = [0]

        def count():
            counted[0] += 1

        r._session.connection.set_progress_handler(count, 100)
        work(r)
        r._session.connection.set_progress_handler(None, 0)
    return counted[0]


def test_what_a_page_costs_does_not_depend_on_how_many_objects_there_are(tmp_path):
    pick = random.Random(1)
    orders = (BY_ID, (("name", True), ("id", True)), (("mac_address", True), ("id", True)))
    asked = [(), *((each,) for each in SOME if each.op == "any" and len(each.values) == 1)]
    stores = [filled(tmp_path, count, pick)[0] for count in (1000, 8000)]
    for order in orders:
        for filters in asked:
            few, many = (
                steps(store, lambda r, f=filters, o=order: r.search(Port, [f], Page(o, 10)))
                for store in stores
            )
            # Below RARE matches are read whole: some instructions more, as many whatever there is beside them.
            assert many <= 2 * few + 120, (filters, order)
    for store in stores:
        store.close()


def test_every_field_that_is_indexed_is_one_of_its_kind():
    for kind, names in fields.INDEXED.items():
        assert all(fields.how(kind, name)[0] == "json" for name in names)


def test_what_is_no_order_is_refused(store):
    with store.reader() as r, pytest.raises(ValueError, match="no order"):
        r.search(Router, [()], Page((("tag", True), ("id", True)), 1))
