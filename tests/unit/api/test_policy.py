"""Policy: answers are kept under what the rule reads, and must be those that oslo.policy gives."""

import logging
import os
import re
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from netloom.api.networking.policy import Policy
from netloom.api.networking.policy_rules import RULES
from netloom.contract.errors import PolicyNotAuthorized
from netloom.model import Caller
from netloom.model.errors import UserError

POLICY = Policy()
PROJECTS = st.sampled_from(["a", "b", ""])
TARGETS = st.fixed_dictionaries(
    {},
    optional={
        "project_id": PROJECTS,
        "network:project_id": PROJECTS,
        "security_group:project_id": PROJECTS,
        "network:shared": st.booleans(),
        "shared": st.booleans(),
        "router:external": st.booleans(),
        "device_owner": st.sampled_from(["", "compute:nova", "network:dhcp", "baremetal:x"]),
        "name": st.text(max_size=2),
    },
)
CALLERS = st.builds(
    Caller,
    project_id=st.sampled_from(["a", "b"]),
    roles=st.frozensets(
        st.sampled_from(["admin", "member", "reader", "service", "manager", "advsvc"])
    ),
)


@given(CALLERS, st.sampled_from(sorted(RULES)), TARGETS)
def test_a_kept_answer_is_the_answer(caller, rule, target):
    kept = POLICY.allows(caller, rule, target)
    assert kept == POLICY._now._ask(caller, rule, target)
    assert kept == POLICY.allows(caller, rule, target)


@given(st.sampled_from(sorted(RULES)), TARGETS)
def test_administrators_may_what_is_not_the_services_alone(rule, target):
    admin = Caller(project_id="z", roles=frozenset({"admin"}))
    exceptions = (
        "binding:profile",
        "get_availability_zone",
        "get_default_security_group_rule",
        "service_api",
        "advsvc",
        "owner",
        "device",
    )
    if (
        ":" not in rule.partition("_")[0]
        and "_" in rule
        and not any(word in rule for word in exceptions)
    ):
        verb = rule.partition("_")[0]
        if verb in ("create", "update", "delete", "get", "add", "remove"):
            assert POLICY.allows(admin, rule, target)


def test_refusals_name_the_rules_as_neutron_does():
    member = Caller(project_id="a", roles=frozenset({"member"}))
    target = {
        "project_id": "a",
        "network_id": "n",
        "network:project_id": "b",
        "network:shared": True,
        "fixed_ips": [{"subnet_id": "s", "ip_address": "10.0.0.1"}],
    }
    with pytest.raises(PolicyNotAuthorized) as caught:
        POLICY.require(member, "create_port", "ports", target)
    assert str(caught.value) == (
        "(rule:create_port and (rule:create_port:fixed_ips and (rule:create_port:fixed_ips:subnet_id and "
        "rule:create_port:fixed_ips:ip_address))) is disallowed by policy"
    )
    del target["fixed_ips"][0]["ip_address"]
    POLICY.require(member, "create_port", "ports", target)


def test_only_what_an_update_sends_is_asked():
    member = Caller(project_id="a", roles=frozenset({"member"}))
    target = {"project_id": "a", "shared": True, "name": "x"}
    POLICY.require(member, "update_network", "networks", target, ["name"])
    with pytest.raises(PolicyNotAuthorized):
        POLICY.require(member, "update_network", "networks", target, ["shared"])


def test_a_changed_file_is_taken_up(tmp_path):
    file = tmp_path / "policy.yaml"
    file.write_text('"create_router": "role:admin"\n')
    policy = Policy(str(file))
    member = Caller(project_id="a", roles=frozenset({"member"}))
    assert not policy.allows(member, "create_router", {"project_id": "a"})
    assert policy.allows(member, "create_network", {"project_id": "a"})
    file.write_text('"create_router": "role:member"\n')
    os.utime(file, (time.time() + 5, time.time() + 5))
    policy._looked = 0.0
    policy.refresh()
    assert policy.allows(member, "create_router", {"project_id": "a"})


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('"create_router": [\n', "cannot read the policy file"),
        ('"create_router": "foo bar"\n', "cannot understand the rule of create_router: foo bar"),
        (
            '"create_router": "rule:admin_onyl"\n',
            "rule of create_router names admin_onyl, which is no rule",
        ),
        ('"default": "rule:nobody"\n', "rule of default names nobody, which is no rule"),
        (
            '"create_router": "not rule:create_router"\n',
            "create_router leads back to create_router",
        ),
        (
            '"get_router": "http://x/y"\n',
            "rule of get_router has a check that is not offered: http://x/y",
        ),
        ('"create_router": "field:x"\n', "field:x must be field:<resource>:<field>=<value>"),
        (None, "there is no policy file"),
    ],
)
def test_a_wrong_file_is_one_plain_line(tmp_path, text, message):
    file = tmp_path / "policy.yaml"
    if text is not None:
        file.write_text(text)
    with pytest.raises(UserError, match=re.escape(message)):
        Policy(str(file))


def test_a_rule_that_nobody_asks_for_is_said(tmp_path, caplog):
    file = tmp_path / "policy.yaml"
    file.write_text(
        '"creat_network": "!"\n"mine": "role:builder"\n"create_router": "rule:mine"\n"get_network:mtu": "!"\n'
    )
    with caplog.at_level(logging.WARNING, "netloom.policy"):
        Policy(str(file))
    assert caplog.messages == [
        f"policy file {file}: this server asks for no rule called creat_network"
    ]


@pytest.mark.parametrize(
    "broken",
    ['"create_router": [', '"create_router": "rule:nobody"', '"create_router": "role:', None],
)
def test_a_file_that_breaks_later_leaves_the_rules_as_they_are(tmp_path, caplog, broken):
    file = tmp_path / "policy.yaml"
    file.write_text('"create_router": "role:builder"\n')
    policy = Policy(str(file))
    if broken is None:
        file.unlink()
    else:
        file.write_text(broken)
        os.utime(file, (time.time() + 5, time.time() + 5))
    policy._looked = 0.0
    policy.refresh()
    builder = Caller(project_id="a", roles=frozenset({"builder"}))
    owner = Caller(project_id="b", roles=frozenset({"member"}))
    assert policy.allows(builder, "create_router", {"project_id": "b"})
    assert not policy.allows(owner, "create_router", {"project_id": "b"})
    assert caplog.messages[-1].endswith("; the old rules stay")
