"""Who sees what, in the store itself: lists and look-ups must agree for every kind and caller."""

import pytest

from netloom.model import (
    Caller,
    Context,
    Network,
    NetworkSettings,
    Port,
    Router,
    SecurityGroup,
    SecurityGroupRule,
    Subnet,
)
from netloom.network import access
from netloom.store import Store

KINDS = (Network, Subnet, Port, Router, SecurityGroup, SecurityGroupRule)


def ctx(project, *roles):
    caller = Caller(user_id="u", project_id=project, roles=frozenset(roles or ("member", "reader")))
    return Context(caller=caller, settings=NetworkSettings())


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    store = Store.open(f"sqlite:///{tmp_path_factory.mktemp('access')}/x.db")
    store.upgrade()
    with store.writer() as w:
        for name in ("own", "shared", "named", "external"):
            w.insert(Network(id=f"n-{name}", project_id="a", name=name))
            w.insert(
                Subnet(id=f"s-{name}", project_id="a", network_id=f"n-{name}", cidr="10.0.0.0/24")
            )
            w.insert(
                Port(
                    id=f"p-{name}",
                    project_id="a",
                    network_id=f"n-{name}",
                    mac_address="fa:16:3e:00:00:01",
                )
            )
        w.grant("n-shared", access.EVERYONE, access.SHARED)
        w.grant("n-named", "b", access.SHARED)
        w.grant("n-external", access.EVERYONE, access.EXTERNAL)
        w.insert(
            Port(
                id="p-guest", project_id="b", network_id="n-shared", mac_address="fa:16:3e:00:00:02"
            )
        )
        # What the server makes for itself belongs to nobody.
        w.insert(
            Port(
                id="p-gateway",
                project_id="",
                network_id="n-external",
                mac_address="fa:16:3e:00:00:03",
            )
        )
        w.insert(Router(id="r", project_id="a"))
        w.insert(SecurityGroup(id="g", project_id="a"))
        w.insert(
            SecurityGroupRule(id="gr", project_id="c", security_group_id="g", direction="egress")
        )
    yield store
    store.close()


def seen(store, context):
    with store.reader() as r:
        return {kind.KIND: {obj.id for obj in access.find_all(r, context, kind)} for kind in KINDS}


def test_the_owner_sees_its_own_and_what_others_put_on_it(store):
    found = seen(store, ctx("a"))
    assert found["network"] == {"n-own", "n-shared", "n-named", "n-external"}
    assert found["port"] == {"p-own", "p-shared", "p-named", "p-external", "p-guest", "p-gateway"}
    assert found["security_group_rule"] == {"gr"}


def test_others_see_what_is_granted_to_them(store):
    found = seen(store, ctx("b"))
    assert found["network"] == {"n-shared", "n-named", "n-external"}
    assert found["subnet"] == {"s-shared", "s-named", "s-external"}
    assert found["port"] == {"p-guest"}
    assert found["router"] == found["security_group"] == found["security_group_rule"] == set()


def test_nobody_sees_nothing(store):
    assert not any(seen(store, ctx("")).values())


@pytest.mark.parametrize("role", ["admin", "service"])
def test_administrators_and_services_see_everything(store, role):
    found = seen(store, ctx("x", role))
    assert [len(found[kind.KIND]) for kind in KINDS] == [4, 4, 6, 1, 1, 1]


@pytest.mark.parametrize("project", ["a", "b", "c", ""])
def test_looking_up_agrees_with_listing(store, project):
    context = ctx(project)
    found = seen(store, context)
    with store.reader() as r:
        for kind in KINDS:
            everything = {obj.id for obj in r.list(kind)}
            assert {id for id in everything if access.find(r, context, kind, id)} == found[
                kind.KIND
            ]


def test_filters_narrow_what_is_seen(store):
    with store.reader() as r:
        ports = access.find_all(r, ctx("a"), Port, network_id={"n-shared", "n-own"})
        assert [port.id for port in ports] == ["p-guest", "p-own", "p-shared"]
        assert access.find_all(r, ctx("b"), Network, id="n-own") == []
        assert access.find_all(r, ctx("b"), Network, id={"n-own", "n-named"})[0].id == "n-named"
