"""Security group rules in every spelling: what is stored and refused is what real Neutron answered (recorded)."""

from __future__ import annotations

import json
from typing import Any

from netloom.contract.decode import decode_create
from netloom.contract.errors import body_of, code_of
from netloom.model import SecurityGroup, SecurityGroupRule
from netloom.network import security_group_rules, security_groups
from tests.support import rule_table
from tests.support.records import Records

UNMATCHED = ("dccp", "udplite")
"""Open vSwitch cannot match their ports: Netloom refuses the rule, in Neutron nothing comes in by it."""


def answers(world: Records, every: int = 1) -> dict[str, list[Any]]:
    """Ask for the table (`every` as in rule_table.run): the contract's decoder and the rules, without HTTP."""

    def ask(method: str, path: str, body: Any) -> tuple[int, Any]:
        _, collection, *identity = path.split("/")
        try:
            if method == "DELETE" and collection == "security-groups":
                group = world.w.get(SecurityGroup, identity[0])
                assert group is not None
                return 204, security_groups.delete(world.w, world.ctx, group)
            if method == "DELETE":
                rule = world.w.get(SecurityGroupRule, identity[0])
                assert rule is not None
                return 204, security_group_rules.delete(world.w, world.ctx, rule)
            name = collection.replace("-", "_")
            decoded = decode_create(name, json.dumps(body).encode(), world.ctx.caller)
            attrs = decoded.items[0]
            if collection == "security-groups":
                made = security_groups.create(world.w, world.ctx, attrs)
                return 201, {"security_group": {"id": made.id}}
            rule = security_group_rules.create(world.w, world.ctx, attrs)
            shown = security_group_rules.show(world.w, world.ctx, [rule])[0]
            return 201, {"security_group_rule": shown}
        except Exception as error:
            return code_of(error), body_of(error)

    return rule_table.run(ask, every)


def spelled(rule: dict[str, Any]) -> str:
    """The rule as Neutron means it: it answers `ANY` with 500 and `any` with what both should be."""
    protocol = rule.get("protocol")
    anything = isinstance(protocol, str) and protocol.lower() == "any"
    return json.dumps(rule | ({"protocol": "any"} if anything else {}))


def test_rules_are_stored_and_refused_as_by_neutron(world: Records) -> None:
    found, recorded = answers(world), rule_table.recorded()
    asked = [json.dumps(rule) for rule in rule_table.cases()]
    wanted = dict(zip(asked, recorded["single"], strict=True))
    compared = 0
    wrong: list[str] = []
    for rule, ours in zip(rule_table.cases(), found["single"], strict=True):
        theirs = wanted.get(spelled(rule))
        if theirs is None or (rule.get("protocol") in UNMATCHED and ours[0] == 400):
            continue
        compared += 1
        if ours != theirs:
            wrong.append(f"{rule}: {ours}, Neutron {theirs}")
    assert not wrong, f"{len(wrong)} differ:\n" + "\n".join(wrong)
    assert compared >= 600


def test_rules_that_say_the_same_are_found_as_by_neutron(world: Records) -> None:
    found, recorded = answers(world, 1000)["twins"], rule_table.recorded()["twins"]
    wrong: list[str] = []
    for (first, second), ours, theirs in zip(rule_table.TWINS, found, recorded, strict=True):
        if "ANY" in (first.get("protocol"), second.get("protocol")):
            theirs = [409, "SecurityGroupRuleExists"]  # the same as `any`
        if ours != theirs:
            wrong.append(f"{first} and {second}: {ours}, Neutron {theirs}")
    assert not wrong, "\n".join(wrong)
