"""The store does what its rooms lean on: snapshots, one writer, links, claims, the feed."""

import threading
import time

import pytest

from netloom.model import (
    FixedIP,
    FloatingIP,
    HostFacts,
    Network,
    Port,
    Quota,
    Router,
    SecurityGroup,
    SecurityGroupRule,
    Server,
    Status,
    Subnet,
)
from netloom.model.cloud import Flavor
from netloom.model.errors import UserError
from netloom.store import (
    Access,
    Claimed,
    Exists,
    InUse,
    MissingTarget,
    NotFound,
    Store,
    StoreError,
    fields,
)


def network(w, id="n1", **more):
    return w.insert(Network(id=id, project_id="p1", **more))


def port(w, id="port1", address="10.0.0.5", **more):
    fixed = (FixedIP("s1", address),)
    return w.insert(
        Port(id=id, network_id="n1", mac_address=f"fa:16:3e:{id}", **{"fixed_ips": fixed, **more})
    )


@pytest.fixture
def net(store):
    """A network with a subnet and two security groups."""
    with store.writer() as w:
        network(w)
        w.insert(Subnet(id="s1", network_id="n1", cidr="10.0.0.0/24"))
        w.insert(SecurityGroup(id="g1"))
        w.insert(SecurityGroup(id="g2"))
    return store


def test_what_is_inserted_is_read_back_with_times(store):
    with store.writer() as w:
        made = network(w, name="blue", mtu=1400, external=True)
    with store.reader() as r:
        assert r.get(Network, "n1") == made
        assert made.created_at == made.updated_at and made.created_at.endswith("Z")
        assert r.get(Network, "n2") is None
        assert r.get(Subnet, "n1") is None


def test_two_kinds_may_share_an_id(store):
    with store.writer() as w:
        network(w, "default")
        w.insert(Quota(id="default"))
        w.delete(Quota, "default")
    with store.reader() as r:
        assert r.get(Network, "default") and not r.get(Quota, "default")


def test_inserting_twice_is_refused(store):
    with store.writer() as w:
        network(w)
        with pytest.raises(Exists):
            network(w)


def test_an_exception_rolls_everything_back(store):
    with pytest.raises(ZeroDivisionError), store.writer() as w:
        network(w)
        w.claim("vni:vxlan", "1", "n1")
        raise ZeroDivisionError
    with store.reader() as r:
        assert (r.list(Network), r.claims("vni:vxlan"), r.seq()) == ([], {}, 0)


def test_filters_find_by_column_field_link_and_term(net):
    with net.writer() as w:
        port(w, "a", "10.0.0.5", name="web", security_groups=("g1", "g2"), host="h1", tags=("x",))
        port(
            w, "b", "10.0.0.6", device_id="vm", device_owner="compute:nova", security_groups=("g2",)
        )
    found = {
        ("network_id", "n1"): ["a", "b"],
        ("subnet_id", "s1"): ["a", "b"],
        ("fixed_ip", "10.0.0.6"): ["b"],
        ("fixed_ip", ("10.0.0.5", "10.0.0.6")): ["a", "b"],
        ("security_group_id", "g1"): ["a"],
        ("security_group_id", ("g1", "g2")): ["a", "b"],
        ("name", "web"): ["a"],
        ("id", frozenset({"b", "no"})): ["b"],
        ("device_id", "vm"): ["b"],
        ("host", "h1"): ["a"],
        ("host", ()): [],
        ("mac_address", "fa:16:3e:a"): ["a"],
        ("tag", "x"): ["a"],
        ("admin_state_up", True): ["a", "b"],
    }
    with net.reader() as r:
        for (field, value), ids in found.items():
            assert [p.id for p in r.list(Port, **{field: value})] == ids, field
            assert r.count(Port, **{field: value}) == len(ids)
        assert [p.id for p in r.list(Port, network_id="n1", device_owner="compute:nova")] == ["b"]
        assert list(r.get_many(Port, ["b", "nobody"])) == ["b"]
        with pytest.raises(ValueError, match="cannot be found"):
            r.list(Port, colour="blue")


def test_none_finds_null(store):
    with store.writer() as w:
        w.insert(Router(id="r1"))
    with store.reader() as r:
        assert [x.id for x in r.list(Router, gw_port_id=None)] == ["r1"]


def test_every_indexed_filter_uses_its_index(store):
    with store.reader() as r:
        for kind, names in fields.INDEXED.items():
            for name in names:
                for value in ("x", ["x", "y"]):
                    assert f"INDEX {kind}_{name} " in r.explain(kind, **{name: value}), (
                        kind,
                        name,
                        value,
                    )
        assert "resource_name" in r.explain("port", name=["a"])
        assert "INDEX term_value" in r.explain("port", fixed_ip=["a"], network_id="n")


def test_lists_are_in_order_of_bytes(store):
    with store.writer() as w:
        for id in ("b", "B", "ä", "a"):
            network(w, id)
    with store.reader() as r:
        assert [n.id for n in r.list(Network)] == ["B", "a", "b", "ä"]


def test_update_raises_the_revision_and_moves_links(net):
    with net.writer() as w:
        old = port(w, security_groups=("g1",))
        new = w.update(type(old)(**{**_fields(old), "security_groups": ("g2",), "fixed_ips": ()}))
        assert new.revision_number == old.revision_number + 1
        assert w.targets("port1", "port.security_group_id") == ["g2"]
        assert w.sources("g1", "port.security_group_id") == []
        assert w.list(Port, fixed_ip="10.0.0.5") == [] == w.list(Port, subnet_id="s1")


def _fields(obj):
    return {name: getattr(obj, name) for name in obj.__struct_fields__}


def test_an_update_without_difference_writes_nothing(net):
    with net.writer() as w:
        old, seq = port(w), w.seq()
        assert w.update(Port(**{**_fields(old), "revision_number": 99})) == old
        assert w.seq() == seq
        with pytest.raises(NotFound):
            w.update(Network(id="nobody"))


def test_bump_is_a_revision_and_an_event(net):
    with net.writer() as w:
        w.bump(Network, "n1")
        w.bump("network", "n1")
        w.bump("network", "nobody")
        assert w.get(Network, "n1").revision_number == 2
    with net.reader() as r:
        assert [(c.kind, c.op) for c in r.changes(4, 10)] == [("network", "update")] * 2


def test_a_network_with_ports_stays_and_without_takes_its_subnets(net):
    with net.writer() as w:
        port(w)
        with pytest.raises(InUse) as refused:
            w.delete(Network, "n1")
        assert refused.value.users == [("port", "port1")]
        w.delete(Port, "port1")
        w.delete(Network, "n1")
        assert w.list(Subnet) == []
    with net.reader() as r:
        assert [(c.op, c.kind) for c in r.changes(5, 9)] == [
            ("delete", "port"),
            ("delete", "subnet"),
            ("delete", "network"),
        ]


def test_a_group_takes_rules_that_name_it_along(net):
    with net.writer() as w:
        w.insert(
            SecurityGroupRule(
                id="1", security_group_id="g1", remote_group_id="g1", direction="ingress"
            )
        )
        w.insert(
            SecurityGroupRule(
                id="2", security_group_id="g2", remote_group_id="g1", direction="ingress"
            )
        )
        w.delete(SecurityGroup, "g1")
        assert w.list(SecurityGroupRule) == []


def test_a_port_that_goes_frees_its_floating_ip(net):
    with net.writer() as w:
        port(w, "inside")
        port(w, "outside", "10.0.0.9")
        w.insert(Router(id="r1"))
        w.insert(
            FloatingIP(
                id="f1",
                floating_network_id="n1",
                floating_ip_address="10.0.0.9",
                floating_port_id="outside",
                port_id="inside",
                fixed_ip_address="10.0.0.5",
                router_id="r1",
            )
        )
        w.delete(Port, "inside")
        left = w.get(FloatingIP, "f1")
        assert (left.port_id, left.fixed_ip_address, left.router_id) == (None, None, None)
        w.delete(Router, "r1")
        with pytest.raises(InUse):
            w.delete(Port, "outside")


def test_naming_what_is_not_there_is_refused(net):
    with net.writer() as w, pytest.raises(MissingTarget, match="security_group g9"):
        port(w, security_groups=("g9",))


def test_a_refused_call_leaves_nothing_behind(net):
    with net.writer() as w:
        made, seq = port(w), w.seq()
        before = [w.list(kind) for kind in (Network, Subnet, Port)]
        for refused in (
            lambda: port(w, "port2", security_groups=("g9",)),
            lambda: w.update(Port(**{**_fields(made), "name": "new", "security_groups": ("g9",)})),
            lambda: w.delete(Subnet, "s1"),
            lambda: w.insert(made),
        ):
            with pytest.raises(StoreError):
                refused()
        # The rule of the network's subnet is to go along, but the subnet has a port: so nothing goes.
        w.insert(Network(id="n2"))
        w.insert(Subnet(id="a2", network_id="n2", cidr="10.0.0.0/24"))
        w.insert(Subnet(id="b2", network_id="n2", cidr="10.0.1.0/24"))
        w.update(Port(**{**_fields(made), "fixed_ips": (FixedIP("b2", "10.0.1.5"),)}))
        with pytest.raises(InUse):
            w.delete(Network, "n2")
        assert w.get(Subnet, "a2") and w.last_seq == w.seq() == seq + 4
        w.delete(Port, "port1")
        w.delete(Network, "n2")
        port(w)
        after = [w.list(kind) for kind in (Network, Subnet, Port)]
    assert [[o.id for o in objs] for objs in after] == [[o.id for o in objs] for objs in before]


def test_a_claim_has_one_owner(store):
    with store.writer() as w:
        w.claim("ip:n1", "10.0.0.5", "port1")
        with pytest.raises(Claimed) as taken:
            w.claim("ip:n1", "10.0.0.5", "port2")
        assert taken.value.owner == "port1"
        w.claim("ip:n2", "10.0.0.5", "port2")
        w.release("ip:n2", "10.0.0.5")
        assert w.claims("ip:n1") == {"10.0.0.5": "port1"} and not w.claims("ip:n2")
        w.release_all("port1")
        assert w.claim_owner("ip:n1", "10.0.0.5") is None


def test_deleting_gives_back_claims_access_and_status(net):
    with net.writer() as w:
        port(w)
        w.claim("ip:n1", "10.0.0.5", "port1")
        w.grant("port1", "*", "access_as_shared")
        w.put_status("h1", [_status()])
        assert len(w.status_rows()) == 1
        w.delete(Port, "port1")
        assert (w.claims("ip:n1"), w.access("port1"), w.status_rows()) == ({}, [], [])


def _status(id="port1", state="ok", detail=""):
    return Status(kind="port", id=id, aspect="l2", seq=7, state=state, detail=detail)


def test_status_is_the_newest_of_each_host_and_not_in_the_feed(net):
    with net.writer() as w:
        port(w)
        seq = w.seq()
        w.put_status("h1", [_status(), _status("gone")], "2026-01-01T00:00:00Z")
        w.put_status("h1", [_status(state="error", detail="no device")], "2026-01-01T00:00:05Z")
        w.set_api_status(Port, "port1", "DOWN")
        (row,) = w.status_rows(["port1"])
        assert (row.host, row.state, row.detail, row.at) == (
            "h1",
            "error",
            "no device",
            "2026-01-01T00:00:05Z",
        )
        assert w.api_status("port", ["port1", "gone"]) == {"port1": "DOWN"}
        assert w.status_rows(host="h2") == []
        assert w.seq() == seq
        assert w.update(w.get(Port, "port1")).revision_number == 0


def test_access_by_project_and_for_all(store):
    with store.writer() as w:
        w.grant("n1", "p1", "access_as_shared")
        w.grant("n2", "*", "access_as_shared")
        w.grant("n3", "*", "access_as_external")
        w.grant("n3", "*", "access_as_external")
        assert w.accessible("p1", "access_as_shared") == {"n1", "n2"}
        assert w.accessible("p2", "access_as_shared") == {"n2"}
        assert w.access("n1") == [Access("n1", "p1", "access_as_shared")]
        w.revoke("n1", "p1", "access_as_shared")
        assert w.access("n1") == []


def test_the_feed_has_no_holes_and_no_secrets(store):
    with store.writer("alice", "req-1") as w:
        made = w.insert(
            Server(
                id="v1",
                user_id="u",
                image_id="i",
                flavor=Flavor(id="1"),
                user_data="c2VjcmV0",
                admin_pass="x",
            )
        )
    with pytest.raises(Exists), store.writer() as w:
        network(w)
        w.insert(made)
    with store.writer() as w:
        w.update(Server(**{**_fields(made), "user_data": "bmV3"}))
    with store.reader() as r:
        first, second = r.changes(0, 10)
        assert (first.seq, first.op, first.actor, first.request_id) == (
            1,
            "insert",
            "alice",
            "req-1",
        )
        assert (second.seq, second.op) == (2, "update")
        for change in (first, second):
            assert "user_data" not in change.after and "admin_pass" not in change.after
        assert "user_data" not in second.before
        assert r.get(Server, "v1").user_data == "bmV3"


def test_pruning_keeps_the_newest(store):
    with store.writer() as w:
        for number in range(10):
            network(w, str(number))
        assert w.prune_changes(3) == 7
        assert (w.oldest(), w.seq()) == (8, 10)
        w.prune_changes(0)
        assert (w.oldest(), w.seq()) == (10, 10)
        assert network(w, "more") and w.seq() == 11


def test_the_feed_does_not_grow_without_end(tmp_path):
    store = Store.open(f"sqlite:///{tmp_path}/x.db", kept_changes=50)
    store.upgrade()
    for _ in range(3):
        with store.writer() as w:
            for _ in range(700):
                w.bump(Network, "n1") if w.get(Network, "n1") else network(w)
    with store.reader() as r:
        assert (r.seq(), r.oldest()) == (2100, 2100 - 49)
    store.close()


def test_a_reader_sees_one_moment(store):
    with store.reader() as r:
        assert r.list(Network) == []
        with store.writer() as w:
            network(w)
        assert r.list(Network) == [] and r.seq() == 0
    with store.reader() as r:
        assert r.count(Network) == 1


def test_writers_take_turns(store):
    def many(name):
        for number in range(20):
            with store.writer() as w:
                seen = w.count(Network)
                network(w, f"{name}{number}", name=str(seen))

    threads = [threading.Thread(target=many, args=(name,)) for name in "abc"]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    with store.reader() as r:
        assert sorted(int(n.name) for n in r.list(Network)) == list(range(60))
        assert [c.seq for c in r.changes(0, 100)] == list(range(1, 61))


def test_writing_within_writing_is_a_mistake_not_a_deadlock(store):
    with store.writer(), pytest.raises(RuntimeError), store.writer():
        pass


def test_wait_wakes_on_commit_and_ends_in_time(store):
    def later():
        time.sleep(0.1)
        with store.writer() as w:
            network(w)

    thread = threading.Thread(target=later)
    thread.start()
    assert store.wait(0, 5) == 1
    thread.join()
    assert store.wait(0, 5) == 1
    before = time.monotonic()
    assert store.wait(1, 0.1) == 1
    assert time.monotonic() - before >= 0.1


def test_hosts_facts_are_in_the_feed_secrets_and_heartbeats_are_not(store):
    facts = HostFacts(host="h1", tunnel_ip="192.0.2.1")
    with store.writer() as w:
        w.put_host("h1", secret_hash="hash")
        w.put_host("h1", facts=facts)
        w.put_host("h1", facts=facts)
        w.put_host("h1", secret_hash="other")
        w.heartbeat("h1", 12.5, 2)
        row = w.hosts()["h1"]
    assert (row.secret_hash, row.facts, row.heartbeat_at, row.applied_seq) == (
        "other",
        facts,
        12.5,
        2,
    )
    assert row.admin_state_up
    with store.reader() as r:
        changes = r.changes(0, 9)
        assert [(c.kind, c.id, c.op) for c in changes] == [
            ("host", "h1", "insert"),
            ("host", "h1", "update"),
        ]
        assert "hash" not in str(changes[0].after)
        assert changes[1].after["facts"]["tunnel_ip"] == "192.0.2.1"
    with store.writer() as w:
        w.put_host("h1", admin_state_up=False)
        assert w.hosts()["h1"].facts == facts
        w.delete_host("h1")
        assert w.hosts() == {}


def test_settings(store):
    with store.writer() as w:
        w.set_setting("colour", "blue")
        w.set_setting("colour", "red")
    with store.reader() as r:
        assert (r.setting("colour"), r.setting("none"), r.seq()) == ("red", None, 0)


@pytest.mark.parametrize(
    "url", ["sqlite://", "postgresql://h/db", "nonsense", "sqlite:////no/such/folder/x.db"]
)
def test_a_bad_url_is_one_plain_line(url):
    with pytest.raises(UserError):
        Store.open(url)


def test_a_database_without_tables_says_what_to_do(tmp_path):
    with (
        pytest.raises(UserError, match="netloom db upgrade"),
        Store.open(f"sqlite:///{tmp_path}/x.db").reader() as r,
    ):
        r.list(Network)
