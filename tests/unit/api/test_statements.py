"""How many statements a list needs depends on what is asked, not on how many objects there are."""

import msgspec
import pytest

from netloom.api.networking import collections, query
from netloom.api.networking.nouns import NOUNS
from netloom.api.networking.policy import policy_of
from netloom.contract.attributes import MAPS
from netloom.model import (
    QOS_RULES,
    AddressGroup,
    Caller,
    Context,
    DefaultSecurityGroupRule,
    FixedIP,
    FloatingIP,
    Network,
    NetworkSettings,
    Port,
    PortForwarding,
    QosPolicy,
    RbacPolicy,
    Router,
    SecurityGroup,
    SecurityGroupRule,
    Subnet,
    SubPort,
    Trunk,
)
from netloom.network import access
from netloom.store import Store

LISTED = [noun.collection for noun in NOUNS.values() if not noun.by_id_only]
QUERIES = ("", "limit=3", "limit=3&sort_key=project_id&sort_dir=desc", "project_id=a&limit=3")


def ctx(*roles):
    caller = Caller(user_id="u", project_id="a", roles=frozenset({"member", "reader", *roles}))
    return Context(caller=caller, settings=NetworkSettings())


def filled(tmp_path, count):
    store = Store.open(f"sqlite:///{tmp_path}/{count}.db")
    store.upgrade()
    with store.writer() as w:
        for n in range(count):
            project = "ab"[n % 2]
            at = {"id": f"{n:04}", "project_id": project}
            w.insert(Network(**at, name=f"n{n}"))
            w.grant(f"{n:04}", access.EVERYONE, access.SHARED)
            w.insert(
                RbacPolicy(
                    **at,
                    object_type="network",
                    object_id=f"{n:04}",
                    action=access.SHARED,
                    target_tenant=access.EVERYONE,
                )
            )
            w.insert(Subnet(**at, network_id=f"{n:04}", cidr="10.0.0.0/24"))
            w.insert(SecurityGroup(**at))
            w.insert(SecurityGroupRule(**at, security_group_id=f"{n:04}", direction="egress"))
            w.insert(Router(**at))
            w.insert(
                Port(
                    **at,
                    network_id=f"{n:04}",
                    mac_address=f"fa:{n}",
                    fixed_ips=(FixedIP(f"{n:04}", "10.0.0.5"),),
                    security_groups=(f"{n:04}",),
                )
            )
            w.insert(
                FloatingIP(
                    **at,
                    floating_network_id=f"{n:04}",
                    floating_ip_address=f"192.0.2.{n}",
                    floating_port_id=f"{n:04}",
                    port_id=f"{n:04}",
                    router_id=f"{n:04}",
                )
            )
            w.insert(AddressGroup(**at))
            w.insert(DefaultSecurityGroupRule(**at, direction="egress"))
            w.insert(Trunk(**at, port_id=f"{n:04}", sub_ports=(SubPort(f"{n:04}", "vlan", 10),)))
            w.insert(QosPolicy(**at))
            for kind in QOS_RULES:
                w.insert(kind(**at, qos_policy_id="0000", direction="egress", max_kbps=1))
            w.insert(
                PortForwarding(
                    id=f"{n:04}",
                    project_id=project,
                    # All in one floating IP: these are listed together.
                    floatingip_id="0000",
                    router_id="0000",
                    protocol="tcp",
                    internal_port_id="0000",
                    internal_ip_address="10.0.0.5",
                    internal_port_range=f"{n + 1}:{n + 1}",
                    external_port_range=f"{n + 1}:{n + 1}",
                )
            )
    return store


def noun_of(collection):
    """A row of the table; of one that stands behind another in paths, as a request has it."""
    noun = NOUNS[collection]
    return msgspec.structs.replace(noun, within="0000") if noun.under else noun


def statements(store, noun, text, context):
    asked = query.parse(noun.collection, [tuple(p.split("=")) for p in text.split("&") if p])
    seen = []
    with store.reader() as r:
        r._session.connection.set_trace_callback(seen.append)
        docs = collections.listed(policy_of(""), r, context, noun, asked)
        r._session.connection.set_trace_callback(None)
    return len(seen), len(docs)


def sort_keys(collection):
    return {name for name, facts in MAPS[collection].items() if facts.get("is_sort_key")}


@pytest.fixture(scope="module")
def stores(tmp_path_factory):
    folder = tmp_path_factory.mktemp("statements")
    made = [filled(folder, count) for count in (4, 40)]
    yield made
    for store in made:
        store.close()


@pytest.mark.parametrize("roles", [(), ("admin",)])
@pytest.mark.parametrize("collection", LISTED)
def test_a_list_needs_as_many_statements_for_few_as_for_many(stores, collection, roles):
    for text in QUERIES:
        if "sort_key=project_id" in text and "project_id" not in sort_keys(collection):
            continue
        if "project_id=" in text and not MAPS[collection].get("project_id", {}).get("is_filter"):
            continue
        (few, some), (many, more) = (
            statements(store, noun_of(collection), text, ctx(*roles)) for store in stores
        )
        assert many <= few, text
        assert more > some or "limit" in text


@pytest.mark.parametrize("collection", LISTED)
def test_the_store_answers_every_filter_and_every_sort_key(stores, collection):
    noun = noun_of(collection)
    for name, facts in MAPS[collection].items():
        if facts.get("is_filter"):
            value = {"fixed_ips": "subnet_id=x", "ethertype": "IPv4", "cidr": "10.0.0.0/24"}
            value |= {"remote_ip_prefix": value["cidr"], "object_type": "network"}
            value["target_tenant"] = "*"
            value = value.get(name, "0.0.0.0" if name == "gateway_ip" else "1")
            asked = query.parse(collection, [(name, value)])
            with stores[0].reader() as r:
                collections.listed(policy_of(""), r, ctx("admin"), noun, asked)
        if facts.get("is_sort_key"):
            statements(stores[0], noun, f"sort_key={name}&sort_dir=asc&limit=2&marker=0002", ctx())


@pytest.mark.parametrize("roles", [(), ("admin",), ("service",)])
def test_ports_are_listed_as_they_are_shown(stores, roles):
    """The short way from the database's text to the answer, and the long one, say the same."""
    noun, policy, context = NOUNS["ports"], policy_of(""), ctx(*roles)
    with stores[1].writer() as w:
        w.set_api_status(Port, "0004", "ACTIVE")
    with stores[1].reader() as r:
        rows = collections.listed(policy, r, context, noun, query.parse("ports", []))
        assert rows and isinstance(rows[0], dict) is (roles == ("service",))
        objs = access.find_all(r, context, Port)
        shown = collections.present(policy, r, context, noun, objs, only_allowed=True)
    as_json = [msgspec.json.decode(msgspec.json.encode(each)) for each in (rows, shown)]
    assert as_json[0] == as_json[1]
    assert ("binding:host_id" in shown[0]) is bool(roles)


def test_what_policy_asks_of_each_port_is_asked(stores, tmp_path):
    """A rule on a port's own name: the short way cannot tell, so the long one is gone."""
    file = tmp_path / "policy.yaml"
    file.write_text('"get_port:mac_address": "field:ports:name=open"\n"get_port": "role:reader"\n')
    file.chmod(0o600)
    with stores[0].reader() as r:
        asked = query.parse("ports", [])
        docs = collections.listed(policy_of(str(file)), r, ctx(), NOUNS["ports"], asked)
    assert docs and all("mac_address" not in doc for doc in docs)
