"""Links, terms and references are, after any writes, what the stored objects say."""

import random

import pytest
from sqlalchemy import select

from netloom.model import (
    KINDS,
    FixedIP,
    FloatingIP,
    Gateway,
    Network,
    Port,
    Router,
    SecurityGroup,
    SecurityGroupRule,
    Subnet,
)
from netloom.store import NotFound, StoreError, fields, links, schema
from netloom.store.session import Statement

OWNER = {"a": "x", "b": "y", "c": ""}
"""Whose a network or a security group is: that never changes."""


def some_object(pick):
    """Any object, naming any others."""
    id, n, s, p = pick.choice("abc"), pick.choice("abc"), pick.choice("abc"), pick.choice("abcdef")
    groups = tuple(sorted(pick.sample("abc", pick.randrange(3))))
    owner = pick.choice(("", "x", "y"))
    return pick.choice(
        (
            lambda: Network(id=id, tags=groups, project_id=OWNER[id]),
            lambda: Subnet(id=id, network_id=n, cidr="10.0.0.0/24"),
            lambda: SecurityGroup(id=id, name=n, project_id=OWNER[id]),
            lambda: SecurityGroupRule(
                id=p,
                security_group_id=s,
                remote_group_id=n,
                direction="ingress",
                project_id=owner,
            ),
            lambda: Router(
                id=id, external_gateway_info=Gateway(n) if n != s else None, gw_port_id=p
            ),
            lambda: Router(id=id),
            lambda: Port(
                id=p,
                project_id=owner,
                network_id=n,
                mac_address="fa:1",
                fixed_ips=tuple(FixedIP(g, f"10.0.0.{pick.randrange(3)}") for g in groups),
                security_groups=groups,
                tags=(n, s),
            ),
            lambda: FloatingIP(
                id=id,
                floating_network_id=n,
                floating_ip_address="203.0.113.1",
                floating_port_id=p,
                port_id=pick.choice((None, "a", "b")),
                router_id=pick.choice((None, "a")),
            ),
        )
    )()


def do_something(w, pick):
    obj = some_object(pick)
    what = pick.randrange(4)
    if what == 0:
        w.delete(type(obj), obj.id)
    elif what == 1:
        w.bump(obj.KIND, obj.id)
    elif w.get(type(obj), obj.id):
        w.update(obj)
    else:
        w.insert(obj)


def seen_by(obj, objects):
    """The projects that see an object because it is on something of theirs, found the long way."""
    owners = {(each.KIND, each.id): each.project_id for each in objects}
    for role, kind, target in links.derive(obj):
        owner = owners[kind, target]
        if links.ROLES[role].owner_sees and owner not in ("", obj.project_id):
            yield fields.SEEN_BY, owner


def check(r):
    objects = [obj for kind in KINDS.values() for obj in r.list(kind)]
    link, term = schema.link.c, schema.term.c
    stored = r._session.rows(
        Statement(select(link.source_kind, link.source, link.role, link.target_kind, link.target))
    )
    assert sorted(map(tuple, stored)) == sorted(
        (obj.KIND, obj.id, *found) for obj in objects for found in links.derive(obj)
    )
    stored = r._session.rows(Statement(select(term.kind, term.id, term.field, term.value)))
    assert sorted(map(tuple, stored)) == sorted(
        (obj.KIND, obj.id, *found)
        for obj in objects
        for found in {*fields.terms(obj), *seen_by(obj, objects)}
    )
    projects = {obj.project_id for obj in objects}
    for kind in KINDS.values():
        for project in projects:
            assert r.tally(kind, project) == r.count(kind, project_id=project)
    assert r._session.run_text("PRAGMA foreign_key_check") == []
    return {(obj.KIND, obj.id): obj for obj in objects}


@pytest.mark.parametrize("seed", range(6))
def test_what_is_derived_follows_the_objects(store, seed):
    pick = random.Random(seed)
    with store.writer() as w:
        begun = set(check(w))  # what the migrations wrote is there before the first change
    for _ in range(25):
        with store.writer() as w:
            for _ in range(12):
                before = w.last_seq
                try:
                    do_something(w, pick)
                except NotFound:
                    pass
                except StoreError:
                    assert w.last_seq == before == w.seq()
            objects = check(w)
        # Whoever follows the feed knows every object that is there, in its newest revision, and no other.
        with store.reader() as r:
            latest = {(c.kind, c.id): c for c in r.changes(0, 100_000)}
        assert {key for key, c in latest.items() if c.op != "delete"} == set(objects) - begun
        for key in objects.keys() - begun:
            obj = objects[key]
            assert latest[key].after["revision_number"] == obj.revision_number
