"""A host that lies: what it reports reaches no other host, no object that is not its own, and never ends the server."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import httpx
import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from netloom.agent.reconcile import repairs
from netloom.api.hosts import reports
from netloom.api.hosts.presence import MOST_STREAMS, Presence
from netloom.model import Chassis, HostFacts, HostGrant, Network, Port, bounds
from netloom.model.errors import BadRequest, Conflict
from netloom.model.hoststate import Flow
from netloom.model.openflow import Match, SetTunnel
from netloom.network import admission
from netloom.plan import plan
from netloom.render.openflow import flow_text
from netloom.store import Store
from tests.support import worlds
from tests.support.serving import Serving, serving

NO_ENDS = (
    *("", "x", "192.0.2.1\n", "192.0.2.1\x00", " 192.0.2.1", "192.0.2.1,output:1", "192.0.2.256"),
    *("0.0.0.0", "0.1.2.3", "127.0.0.1", "224.0.0.1", "239.1.1.1", "255.255.255.255", "240.0.0.1"),
    *("169.254.169.254", "::1", "192.0.2", "192.0.2.1/24", "١٩٢.0.2.1", "192.0.2.01"),
)
GOOD: dict[str, Any] = {"host": "c1", "tunnel_ip": "192.0.2.1"}
WRONG_FACTS: list[dict[str, Any]] = [
    *({"tunnel_ip": end} for end in NO_ENDS),
    *({"tunnel_types": types} for types in (["vxlan", "vxlan"], ["carrier pigeon"], "vxlan")),
    *({"roles": roles} for roles in (["network", "network"], ["admin"], [["compute"]])),
    {"instance_types": ["vm"]},
    {"bridge_mappings": {"x": "br-int"}},
    {"bridge_mappings": {"x": "br-x", "y": "br-x"}},
    {"bridge_mappings": {"x": "br-x\n"}},
    {"bridge_mappings": {"x,y:z": "br-x"}},
    {"bridge_mappings": {f"x{number}": f"br-x{number}" for number in range(65)}},
    {"bridge_mappings": {"x": "br-x"}, "physical_interfaces": {"br-y": "eth1"}},
    *(
        {"bridge_mappings": {"x": "br-x"}, "physical_interfaces": {"br-x": nic}}
        for nic in ("", ".", "..", "a/b", "eth0\n", "sixteen-letters-", "-f", "a b", "a:1")
    ),
    *(
        {
            "bridge_mappings": {"x": "br-x"},
            "physical_interfaces": {"br-x": "bond-x"},
            "bonds": bonds,
        }
        for bonds in (
            {"bond-y": ["eth1", "eth2"]},
            {"bond-x": ["eth1"]},
            {"bond-x": ["eth1", "eth1"]},
            {"bond-x": ["eth1", "bond-x"]},
            {"bond-x": ["eth1", "-f"]},
            {"bond-x": [f"eth{number}" for number in range(9)]},
        )
    ),
    {"capabilities": {"openvswitch": "3.1\n"}},
    {"capabilities": {"openvswitch": "3" * 201}},
    {"capabilities": {"x" * 65: ""}},
    {"capabilities": {"datapath_type": "dpdk"}},
    {"availability_zone": "nova\x1b[2J"},
    {"availability_zone": "z" * 256},
    {"plan_version": "1" * 201},
    {"started_at": "\x00"},
    {"started_at": None},
    {"is_admin": True},
    {"host": "c2"},
]


@pytest.mark.parametrize("wrong", WRONG_FACTS, ids=lambda wrong: repr(wrong)[:50])
def test_facts_that_no_host_has(wrong: dict[str, Any]) -> None:
    with pytest.raises(BadRequest) as refused:
        reports.facts(json.dumps(GOOD | wrong).encode(), "c1")
    assert str(refused.value).isprintable() and len(str(refused.value)) < 500


@pytest.mark.parametrize("end", NO_ENDS)
def test_no_flow_is_made_of_an_address_that_is_none(end: str) -> None:
    """Where it is rendered, whatever checked it before."""
    with pytest.raises(ValueError):
        SetTunnel(1, end)
    with pytest.raises(msgspec.ValidationError):
        msgspec.convert({"host": "c2", "tunnel_ip": end}, Chassis)
    flow = Flow(bridge="br-int", table=0, priority=1, match=Match(ip_src=f"10.0.0.1\n{end}"))
    with pytest.raises(ValueError):
        flow_text(flow)


def test_all_that_a_well_meaning_agent_says_is_taken() -> None:
    """A new aspect or kind of the agent's must be one that the server takes, or no report arrives any more."""
    said = {(repairs.ASPECT, "port"), ("state", "host"), ("tunnel", "host")}
    for world in (worlds.walkthrough_a, worlds.walkthrough_b, worlds.remote_group):
        for view in world().views().values():
            for item in plan(view).objects.values():
                said |= {(item.aspect, origin.kind) for origin in item.origin}
    assert len(said) > 8
    rows = [
        {"kind": kind, "id": str(n), "aspect": aspect, "seq": 1, "state": "ok"}
        for n, (aspect, kind) in enumerate(said)
    ]
    report = reports.report(json.dumps({"applied_seq": 1, "rows": rows}).encode(), 1)
    assert len(report.rows) == len(said)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=12,
)
FIELDS = st.sampled_from([*HostFacts.__struct_fields__, "applied_seq", "rows", "whole"])
ROW = st.fixed_dictionaries(
    {
        "kind": st.sampled_from(["port", "host", "network", "nonsense"]) | st.text(),
        "id": st.sampled_from(["p1", "p2", "c2"]) | st.text(),
        "aspect": st.sampled_from(["l2", "l3", "nonsense"]) | JSON,
        "seq": st.integers() | JSON,
        "state": st.sampled_from(["ok", "error", "gone", "nonsense"]) | JSON,
        "detail": st.text() | JSON,
    }
)


@given(st.binary() | st.dictionaries(FIELDS, JSON).map(lambda d: json.dumps(GOOD | d).encode()))
@settings(max_examples=300)
def test_any_facts_are_refused_in_one_line_or_are_printable_and_bounded(body: bytes) -> None:
    try:
        facts = reports.facts(body, "c1")
    except BadRequest as refused:
        assert str(refused).isprintable() and len(str(refused)) < 500
    else:
        for text in json.loads(msgspec.json.encode(facts)).values():
            for word in text if isinstance(text, list) else [text]:
                assert not isinstance(word, str) or (word.isprintable() and len(word) <= 255)


@given(
    st.binary()
    | st.builds(
        lambda seq, rows: json.dumps({"applied_seq": seq, "rows": rows}).encode(),
        st.integers() | JSON,
        st.lists(ROW, max_size=3),
    )
)
@settings(max_examples=300)
def test_any_report_is_refused_in_one_line_or_is_bounded(body: bytes) -> None:
    try:
        report = reports.report(body, 100)
    except BadRequest as refused:
        assert str(refused).isprintable() and len(str(refused)) < 500
    else:
        assert 0 <= report.applied_seq <= 100
        assert all(row.detail.isprintable() and 0 <= row.seq <= 100 for row in report.rows)


def test_a_narrower_grant_cuts_what_was_reported() -> None:
    facts = HostFacts(
        host="c1",
        roles=("network", "compute"),
        bridge_mappings={"a": "br-a", "b": "br-b"},
        physical_interfaces={"br-a": "bond-a", "br-b": "bond-b"},
        bonds={"bond-a": ("eth1", "eth2"), "bond-b": ("eth3", "eth4")},
        instance_types=("container",),
    )
    cut = admission.within(facts, HostGrant(roles=("compute",), physical_networks=("b",)))
    assert cut is not None and (cut.roles, cut.instance_types) == (("compute",), ())
    assert (cut.bridge_mappings, cut.physical_interfaces) == ({"b": "br-b"}, {"br-b": "bond-b"})
    assert cut.bonds == {"bond-b": ("eth3", "eth4")}
    everything = HostGrant(
        roles=("compute", "network"), physical_networks=("*",), instance_types=("container",)
    )
    assert admission.within(facts, everything) is facts


@pytest.mark.parametrize(
    "name",
    [
        "",
        ".",
        "..",
        "../etc",
        "a/b",
        "a b",
        "a\n",
        "a\x00",
        "-x",
        "x.",
        "x..y",
        "é",
        "a" * 254,
        "*",
    ],
)
def test_names_that_no_host_has(name: str) -> None:
    with pytest.raises(ValueError):
        bounds.host_name(name)


def test_of_two_agents_that_come_at_once_one_streams_and_it_has_few_streams() -> None:
    presence = Presence(5.0)
    presence.heard("c1", "one")
    presence.heard("c1", "two")  # both asked before either stream was open
    presence.begun("c1", "one")
    with pytest.raises(Conflict, match="Another agent"):
        presence.begun("c1", "two")
    for _ in range(MOST_STREAMS - 1):
        presence.begun("c1", "one")
    with pytest.raises(Conflict, match="streams already"):
        presence.begun("c1", "one")
    presence.begun("c2", "two")


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Serving]:
    with serving(tmp_path_factory.mktemp("hostile"), 'auth = "trusted-headers"') as running:
        for name in ("c1", "c2"):
            add(running, name)
        store = Store.open(f"sqlite:///{running.state}/netloom.db")
        with store.writer() as w:
            for number, host in ((1, "c1"), (2, "c2")):
                w.insert(Network(id=f"n{number}", key=number))
                mac = f"fa:16:3e:00:00:0{number}"
                made = {"id": f"p{number}", "key": number, "network_id": f"n{number}"}
                w.insert(Port(**made, mac_address=mac, host=host))
        store.close()
        yield running


def add(server: Serving, name: str, *more: str) -> None:
    file = server.config.parent / name
    made = server.netloom(
        *("host", "add", name, "--config", str(server.config), "--secret-file", str(file), *more)
    )
    assert made.returncode == 0, made.stderr


def agent(server: Serving, host: str) -> httpx.Client:
    secret = (server.config.parent / host).read_text().strip()
    return httpx.Client(
        base_url=f"{server.url}/agent/v1/hosts/{host}",
        headers={"Authorization": f"Bearer {secret}"},
        timeout=20,
    )


def snapshot(server: Serving, host: str) -> dict[str, Any]:
    with agent(server, host).stream("GET", "/stream") as response:
        assert response.status_code == 200
        return json.loads(next(response.iter_lines()))["upsert"]


def rows(**more: Any) -> bytes:
    row = {"kind": "port", "id": "p1", "aspect": "l2", "seq": 1, "state": "ok", **more}
    return json.dumps({"applied_seq": 1, "rows": [row]}).encode()


def test_nothing_that_it_sends_is_a_500_or_reaches_another_host(server: Serving) -> None:
    before = snapshot(server, "c2")
    deep = b'{"host": "c1", "capabilities": ' + b"[" * 30000
    bodies = {
        "/facts": [
            *(json.dumps(GOOD | wrong).encode() for wrong in WRONG_FACTS[::4]),
            *(deep, b"[" * 60000, b'{"host": "c1", "host": "c1"}', b'{"host": "\xff"}', b""),
            b'{"host": "c1", "started_at": "\\ud800"}',
        ],
        "/status": [
            *(rows(state="well"), rows(aspect="soul"), rows(kind="token"), rows(detail="a\nb")),
            *(rows(detail="x" * 501), rows(seq=10**30), rows(seq=-1), rows(id="\x00"), rows(x=1)),
            *(json.dumps({"applied_seq": seq}).encode() for seq in (-1, 10**6, 2**63, 2**64, 1.5)),
            json.dumps({"applied_seq": 1, "rows": [json.loads(rows())["rows"][0]] * 2}).encode(),
            *(
                b'{"applied_seq": 1, "applied_seq": 0}',
                b'{"applied_seq": 1, "rows": ' + b"[" * 60000,
            ),
            b'{"applied_seq": ' + b"1" * 5000 + b"}",
        ],
    }
    with agent(server, "c1") as client:
        for path, wrong in bodies.items():
            for body in wrong:
                answer = client.request("PUT" if path == "/facts" else "POST", path, content=body)
                assert answer.status_code == 400, (body[:80], answer.text)
                message = answer.json()["error"]["message"]
                assert message.isprintable() and len(message) < 500
        assert client.put("/facts", content=b" " * 70_000).status_code == 413
        assert client.post("/status", content=b" " * 3_000_000).status_code == 413
        assert client.put("/console/p1", content=b"x" * 300_000).status_code == 413
        assert client.get("/stream?after=-1").status_code == 400
        assert client.get("/stream?after=" + "9" * 30).status_code == 400
        assert client.get("/images/..%2F..%2Ftoken.key").status_code == 404
        for path in ("/images/%00", "/console/%00", "/nonsense", "/facts"):
            assert client.get(path).status_code in (400, 404, 405)
        odd = {"x-netloom-agent": "x" * 65}
        assert client.post("/status", content=rows(), headers=odd).status_code == 400
    assert snapshot(server, "c2") == before
    assert "Traceback" not in server.log


def test_it_reports_on_its_own_objects_only(server: Serving) -> None:
    with agent(server, "c1") as client:
        assert client.put("/facts", content=json.dumps(GOOD)).status_code == 204
        for row in (
            {"id": "p2"},
            {"kind": "network", "id": "n2"},
            {"kind": "host", "id": "c2", "aspect": "tunnel", "state": "error"},
            {"kind": "user", "id": "admin"},
            {"id": "p1"},
        ):
            assert client.post("/status", content=rows(**row)).status_code == 204
    store = Store.open(f"sqlite:///{server.state}/netloom.db")
    with store.reader() as r:
        assert {(row.kind, row.id) for row in r.status_rows(host="c1")} == {("port", "p1")}
    store.close()


def test_another_hosts_tunnel_address_and_what_was_not_granted(server: Serving) -> None:
    with agent(server, "c1") as one, agent(server, "c2") as two:
        assert one.put("/facts", content=json.dumps(GOOD)).status_code == 204
        taken = two.put("/facts", content=json.dumps({"host": "c2", "tunnel_ip": "192.0.2.1"}))
        assert taken.status_code == 409 and "that of host c1" in taken.text
        for beyond in (
            {"roles": ["network"]},
            {"bridge_mappings": {"extnet": "br-extnet"}},
            {"instance_types": ["container"]},
        ):
            wish = json.dumps({"host": "c2", "tunnel_ip": "192.0.2.2"} | beyond)
            refused = two.put("/facts", content=wish)
            assert refused.status_code == 403, refused.text
            line = refused.json()["error"]["message"]
            words = line[line.index("netloom host grant") :].replace("FILE", str(server.config))
            done = server.netloom(*words.split()[1:])
            assert done.returncode == 0, done.stderr
            assert two.put("/facts", content=wish).status_code == 204
        listed = server.netloom("host", "list", "--config", str(server.config)).stdout
        assert "--role compute --role network --physical-network extnet" in listed


def test_a_removed_hosts_credential_and_stream_end(server: Serving) -> None:
    add(server, "c3")
    with agent(server, "c3") as client, client.stream("GET", "/stream") as response:
        lines = response.iter_lines()
        next(lines)
        for _ in range(2):
            gone = server.netloom("host", "remove", "c3", "--config", str(server.config))
        assert (gone.returncode, gone.stderr) == (2, "netloom: there is no host c3\n")
        assert not [line for line in lines if "keepalive" not in line]  # it ends, with nothing new
    assert agent(server, "c3").get("/stream").status_code == 401
    with agent(server, "c3") as old:
        add(server, "c3")  # as a new host, with another secret
        assert old.put("/facts", content=json.dumps({"host": "c3"})).status_code == 401
    with agent(server, "c3") as new:
        assert new.put("/facts", content=json.dumps({"host": "c3"})).status_code == 204
    odd = server.netloom("host", "add", "../c4", "--config", str(server.config))
    assert odd.returncode == 2 and "is no host name" in odd.stderr
