"""What clients do with address groups, and with groups of other projects."""

from __future__ import annotations

from typing import Any

from tests.differential import pick, steps
from tests.differential.operations import UNKNOWN, Request, Twin, Twins
from tests.differential.pick import Draw

ADDRESSES = (
    "10.0.0.0/24",
    "10.0.0.9/24",
    "10.0.0.9/32",
    "0.0.0.0/0",
    "2001:db8::/64",
    "2001:db8::1/128",
    "192.0.2.0/25",
)
"""One of them is written with host bits."""


def _addresses(draw: Draw, most: int) -> list[str]:
    return [steps.some(draw, *ADDRESSES) for _ in range(draw(pick.integers(0, most)))]


def _rule(who: Any, group: Any, draw: Draw, **remote: Any) -> Request:
    more = steps.some(draw, {}, {"protocol": "tcp"}, {"protocol": "udp", "ethertype": "IPv6"})
    body = {"security_group_id": group, "direction": "ingress", **remote, **more}
    return Request(
        who,
        "POST",
        ("security-group-rules",),
        {"security_group_rule": body},
        makes="security_group_rule",
    )


def listed(world: Twins, draw: Draw) -> steps.Story:
    """An address group from its first address to its end, with rules that name it."""
    admin, member, reader, other, *_ = world.identities
    group = yield steps.make(member, "security_group", name="opens")
    made = yield steps.make(
        member,
        "address_group",
        **steps.some(
            draw,
            {},
            {"addresses": None},
            {"addresses": _addresses(draw, 4)},
            {"name": "partners", "addresses": ["10.0.0.0/24"]},
            {"addresses": ["x"]},
        ),
    )
    path = ("address-groups/", made or UNKNOWN)
    rules: list[Twin] = []
    for _ in range(draw(pick.integers(4, 10))):
        who = steps.some(draw, member, member, member, member, admin, reader, other)
        step = draw(pick.integers(0, 9))
        if step <= 4:
            action = steps.some(draw, "add_addresses", "add_addresses", "remove_addresses")
            one = [steps.some(draw, *ADDRESSES)]
            body = steps.some(draw, one, one, one, [], ["x"], ["10.0.0.1"])
            yield Request(who, "PUT", (*path, "/", action), {"addresses": body})
        elif step <= 6:
            names = steps.some(
                draw,
                {"remote_address_group_id": made or UNKNOWN},
                {"remote_address_group_id": made or UNKNOWN},
                {"remote_address_group_id": made or UNKNOWN, "remote_group_id": group or UNKNOWN},
                {"remote_address_group_id": UNKNOWN},
            )
            rule = yield _rule(member, group or UNKNOWN, draw, **names)
            if rule is not None:
                rules.append(rule)
        elif step == 7:
            change = steps.some(draw, {"name": "new"}, {"description": "d"}, {"addresses": []})
            yield Request(who, "PUT", path, {"address_group": change})
        elif step == 8:
            yield steps.show(who, made)
        else:
            query = steps.some(draw, "", "?name=partners", "?addresses=10.0.0.0/24", "?foo=1")
            yield Request(who, "GET", ("address-groups", query))
    yield steps.delete(member, made)
    for rule in rules:
        yield steps.delete(member, rule)
    yield steps.delete(steps.some(draw, member, other), made)


def shared(world: Twins, draw: Draw) -> steps.Story:
    """A group that another project uses by a policy, and what ends that."""
    admin, member, _, other, *_ = world.identities
    kind = steps.some(draw, "address_group", "security_group")
    made = yield steps.make(member, kind, **({"name": "ours"} if kind == "security_group" else {}))
    theirs = yield steps.make(other, "security_group", name="theirs")
    target = steps.some(draw, other.project, other.project, "*", "a" * 32)
    grant = {
        "object_type": kind,
        "object_id": made or UNKNOWN,
        "action": steps.some(draw, *["access_as_shared"] * 4, "access_as_external"),
        "target_tenant": target,
    }
    policy = yield Request(
        admin if target == "*" else member,
        "POST",
        ("rbac-policies",),
        {"rbac_policy": grant},
        makes="rbac_policy",
    )
    yield steps.show(other, made)
    field = "remote_group_id" if kind == "security_group" else "remote_address_group_id"
    rule = yield _rule(other, theirs or UNKNOWN, draw, **{field: made or UNKNOWN})
    if kind == "security_group":
        yield Request(
            steps.some(draw, member, other),
            "GET",
            (f"security-groups?shared={steps.some(draw, 'True', 'False')}&fields=id",),
        )
        yield _rule(other, made or UNKNOWN, draw)
    yield Request(other, "DELETE", ("rbac-policies/", policy or UNKNOWN))
    yield steps.delete(member, policy)
    yield steps.delete(other, rule)
    yield steps.delete(member, made)
