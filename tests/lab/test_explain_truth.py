"""explain beside real packets: from every instance and from outside, to everything, and each answer must be so.

«Cannot say» is allowed only where the answer hangs on something outside, or on what an instance took for itself.
"""

from __future__ import annotations

import json
import os
import re
import shlex
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from netloom.lab import hosts, settings
from netloom.lab.topology import WEB
from tests.support import probe
from tests.support.running_lab import RunningLab, backend
from tests.support.tenant import NETWORKING, Background, Instance, Tenant, flat_network, on_host

pytestmark = [pytest.mark.root, pytest.mark.slow]

ICMP, UDP, TCP = {"protocol": "icmp"}, {"protocol": "udp"}, {"protocol": "tcp"}
PROBE = str(Path(probe.__file__))
Question = tuple[str, str, str]
"""Address, protocol, port (empty for ICMP)."""

UNKNOWABLE = (
    "whether a machine there brings it to",
    "but no port has it",
    "if the machines outside know",
    "allowed address pairs",
)


def only(low: int, **more: str) -> dict[str, Any]:
    return {"protocol": "tcp", "port_range_min": low, "port_range_max": low, **more}


def stateless(tenant: Tenant) -> dict[str, Any]:
    """Lets ping and port 80 in, ping and UDP out: so answers of port 80 do not get out."""
    group = tenant.make("security-groups", name="stateless", stateful=False)
    for rule in group["security_group_rules"]:
        tenant.request("DELETE", f"{NETWORKING}/security-group-rules/{rule['id']}")
    for rule in ({"direction": "ingress", **ICMP}, {"direction": "egress", **ICMP}):
        tenant.make("security-group-rules", security_group_id=group["id"], **rule)
    tenant.make(
        "security-group-rules", security_group_id=group["id"], direction="ingress", **only(80)
    )
    tenant.make("security-group-rules", security_group_id=group["id"], direction="egress", **UDP)
    return group


def routers(tenant: Tenant, made: SimpleNamespace) -> None:
    """`ra` with SNAT, `rb` without, joined by a transit network and routes for the network red only."""
    made.ra = tenant.router(made.red, made.blue, made.plaza, made.transit)
    public = tenant.get(f"{NETWORKING}/networks", name="public")["networks"][0]["id"]
    gateway = {"network_id": public, "enable_snat": False}
    made.rb = tenant.make("routers", name="truth-rb", external_gateway_info=gateway)
    tenant.attach(made.rb, made.green)
    fixed = [{"subnet_id": made.transit["subnet"]["id"], "ip_address": "10.60.0.9"}]
    port = tenant.make("ports", network_id=made.transit["id"], fixed_ips=fixed)
    tenant.put(
        f"{NETWORKING}/routers/{made.rb['id']}/add_router_interface", {"port_id": port["id"]}
    )
    made.ways = ((made.ra, "10.63.0.0/24", "10.60.0.9"), (made.rb, "10.61.0.0/24", "10.60.0.1"))
    for router, cidr, hop in made.ways:
        routes = [{"destination": cidr, "nexthop": hop}]
        tenant.put(f"{NETWORKING}/routers/{router['id']}", {"router": {"routes": routes}})


@pytest.fixture(scope="module")
def cloud(lab: RunningLab) -> Iterator[SimpleNamespace]:
    with Tenant(lab) as tenant, Tenant(lab, "demo") as demo:
        for owner in (tenant, demo):  # others of this run have instances too
            owner.raise_quota(instances=40, cores=80, ram=-1)
        made = SimpleNamespace(tenant=tenant)
        allowed, theirs = tenant.group(ICMP, TCP, UDP), demo.group(ICMP, TCP, UDP)
        for name, number in {
            "red": 61,
            "blue": 62,
            "green": 63,
            "transit": 60,
            "lonely": 66,
        }.items():
            setattr(made, name, tenant.network(name, f"10.{number}.0.0/24"))
        made.plaza = tenant.network("plaza", "10.65.0.0/24", shared=True)
        vlan = {"provider:network_type": "vlan", "provider:physical_network": "extnet"}
        if backend() == "linuxbridge":  # it needs VLAN devices, which not every kernel makes
            vlan = {}
        tagged = tenant.network("tagged", "10.64.0.0/24", shared=True, **vlan)
        flat, twin = flat_network(tenant), demo.network("twin", "10.61.0.0/24")
        routers(tenant, made)
        demo.router(twin)
        clients = tenant.group()
        web = tenant.group(only(80), {**ICMP, "remote_group_id": clients["id"]})
        near = tenant.group(
            {**ICMP, "remote_ip_prefix": "10.61.0.0/24"}, only(22, remote_ip_prefix="10.61.0.11/32")
        )
        asked = {
            "r1": (tenant, "compute1", made.red, allowed, "10.61.0.11", {}),
            "r2": (tenant, "compute2", made.red, web, "10.61.0.12", {}),
            "r3": (
                tenant,
                *("compute2", made.red, allowed, "10.61.0.13"),
                {"security_groups": [], "port_security_enabled": False},
            ),
            "r4": (tenant, "compute1", made.red, stateless(tenant), "10.61.0.14", {}),
            "r5": (
                tenant,
                "compute2",
                made.red,
                allowed,
                "10.61.0.15",
                {"security_groups": [clients["id"]]},
            ),
            "b1": (tenant, "compute2", made.blue, near, "10.62.0.11", {}),
            "b2": (tenant, "compute1", made.blue, allowed, "10.62.0.12", {"admin_state_up": False}),
            "g1": (tenant, "compute1", made.green, allowed, "10.63.0.11", {}),
            "l1": (tenant, "compute1", made.lonely, allowed, "10.66.0.11", {}),
            "p1": (demo, "compute2", made.plaza, theirs, None, {}),
            "f1": (demo, "compute1", flat, theirs, None, {}),
            "v1": (demo, "compute1", tagged, theirs, "10.64.0.11", {}),
            "v2": (demo, "compute2", tagged, theirs, "10.64.0.12", {}),
            "d1": (demo, "compute1", twin, theirs, "10.61.0.11", {}),
            "d2": (demo, "compute2", twin, theirs, "10.61.0.12", {}),
        }
        servers = {
            name: owner.boot(
                f"truth-{name}", host, network, group, **({"address": ip} if ip else {})
            )
            for name, (owner, host, network, group, ip, _) in asked.items()
        }
        made.instances = {name: asked[name][0].instance(ident) for name, ident in servers.items()}
        for name, spec in asked.items():
            if spec[5]:
                tenant.put(
                    f"{NETWORKING}/ports/{made.instances[name].port['id']}", {"port": spec[5]}
                )
        r1: Instance = made.instances["r1"]
        pair = {"allowed_address_pairs": [{"ip_address": "10.61.0.100"}]}
        tenant.put(f"{NETWORKING}/ports/{r1.port['id']}", {"port": pair})
        r1.run("ip", "addr", "add", "10.61.0.100/24", "dev", "eth0")
        floating = {name: tenant.floating_ip(made.instances[name].port["id"]) for name in ("r1",)}
        floating["d1"] = demo.floating_ip(made.instances["d1"].port["id"])
        floating["free"] = tenant.floating_ip(None)
        gateway = tenant.get(f"{NETWORKING}/routers/{made.ra['id']}")["router"][
            "external_gateway_info"
        ]
        made.places = {name: instance.address for name, instance in made.instances.items()}
        made.places |= {f"fip-{name}": fip["floating_ip_address"] for name, fip in floating.items()}
        made.places |= {
            "gateway": gateway["external_fixed_ips"][0]["ip_address"],
            "interface": "10.62.0.1",
            "dhcp": "10.61.0.2",
            "nobody": "10.61.0.99",
            "pair": "10.61.0.100",
            "metadata": "169.254.169.254",
            "web": WEB,
        }
        serving = [
            Background(i.line(sys.executable, PROBE, "serve")) for i in made.instances.values()
        ]
        try:
            for instance in made.instances.values():
                RunningLab.until(
                    lambda i=instance: is_serving(i), 30, f"{instance.address} serves nothing"
                )
            for name in ("r1", "d1"):
                path = f"{NETWORKING}/floatingips/{floating[name]['id']}"
                RunningLab.until(
                    lambda path=path: tenant.get(path)["floatingip"]["status"] == "ACTIVE",
                    *(30, f"{path} is not ACTIVE"),
                )
            r1.reaches(made.places["r3"])
            made.instances["d1"].reaches(WEB)
            # What explain knows at once, hosts do a little later.
            for name in ("r5", "b2"):
                RunningLab.until(
                    lambda name=name: not r1.pings(made.places[name]), 30, f"{name} is still open"
                )
            yield made
        finally:
            for process in serving:
                process.stop(15)
            for router, _, _ in made.ways:
                tenant.put(f"{NETWORKING}/routers/{router['id']}", {"router": {"routes": []}})


def is_serving(instance: Instance) -> bool:
    """Whether the probe's server has opened both its ports."""
    listening = instance.run("ss", "-Hlnut")
    return f":{probe.TCP_PORT} " in listening and f":{probe.UDP_PORT} " in listening


def line_of(lab: RunningLab, cloud: SimpleNamespace, source: str) -> list[str]:
    return on_host(lab, "outside") if source == "outside" else cloud.instances[source].line()


def really(line: list[str], questions: list[Question]) -> list[bool]:
    """What real packets find."""
    asked = "\n".join(" ".join(question) for question in questions)
    done = subprocess.run(
        [*line, sys.executable, PROBE, "ask"],
        input=asked,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, f"{line}: {done.stderr}"
    return [answer == "1" for answer in done.stdout.split()]


def questions_of(cloud: SimpleNamespace, source: str) -> list[Question]:
    """Ping to every place; TCP and UDP where rules and translation differ."""
    found: list[Question] = []
    for place, address in cloud.places.items():
        if source in cloud.instances and address == cloud.places[source]:
            continue  # its own, or its twin's
        if source == "outside" and place in ("web", "nobody", "metadata", "dhcp", "pair"):
            continue
        if source == "outside" and place in cloud.instances and place != "f1":
            continue  # asked by name, and by floating IP
        if source in ("v1", "v2") and place == "web":
            continue  # this machine's outside has no VLANs
        if source == "r1" and place == "pair":
            continue  # its own
        found.append((address, "icmp", ""))
        if place in ("r1", "r2", "r4", "b1", "fip-r1"):
            found += [(address, "tcp", "22"), (address, "tcp", "80"), (address, "udp", "7")]
        elif place in ("metadata", "g1", "web"):
            found.append((address, "tcp", "80"))
    return found


def explained(
    cloud: SimpleNamespace, source: str, destination: str, *service: str
) -> dict[str, Any]:
    query = {
        "source": source if source == "outside" else f"truth-{source}",
        "destination": destination,
    }
    query |= {"protocol": service[0]} if service else {}
    query |= {"port": service[1]} if service[1:] and service[1] else {}
    return cloud.tenant.get("/explain/v1", **query)


def test_every_answer_is_what_packets_find(lab: RunningLab, cloud: SimpleNamespace) -> None:
    sources = [*cloud.instances, "outside"]
    asked = {source: questions_of(cloud, source) for source in sources}
    with ThreadPoolExecutor(4) as pool:
        lines = [line_of(lab, cloud, source) for source in sources]
        found = dict(zip(sources, pool.map(really, lines, asked.values()), strict=True))
    wrong: list[str] = []
    tally: Counter[str] = Counter()
    for source, questions in asked.items():
        for question, real in zip(questions, found[source], strict=True):
            answer = explained(cloud, source, *question)
            verdict, sentence = answer["verdict"], answer["sentence"]
            if verdict == "reachable" and not real:
                # All at once, a busy machine may have been too slow for this one.
                [real] = really(line_of(lab, cloud, source), [question])
            tally[verdict] += 1
            if verdict == "unknown":
                right = any(words in sentence for words in UNKNOWABLE)
            else:
                right = (verdict == "reachable") == real
            if not right or (
                verdict != "reachable" and not (answer["decided_by"] and answer["fix"])
            ):
                wrong.append(
                    f"{source} to {' '.join(question)}: packets {real}, explain: {sentence}"
                )
    assert not wrong, "\n".join(wrong)
    # Not true because everything, or nothing, was answered.
    assert min(tally["reachable"], tally["unreachable"]) > 60 and tally["unknown"] < 80, tally


def says(cloud: SimpleNamespace, verdict: str, words: str, *asked: str) -> dict[str, Any]:
    """Wait until explain gives this verdict with these words."""
    answer: dict[str, Any] = {}

    def agrees() -> bool:
        answer.update(explained(cloud, *asked))
        return answer["verdict"] == verdict and words in answer["sentence"]

    RunningLab.until(agrees, 40, f"explain says {answer}")
    return answer


def test_a_name_that_shares_its_address(cloud: SimpleNamespace) -> None:
    assert "which has the same address" in explained(cloud, "r1", "truth-d2")["sentence"]
    assert explained(cloud, "r1", "truth-l1")["decided_by"] == f"router/{cloud.ra['id']}"


def test_without_snat_it_hangs_on_outside(lab: RunningLab, cloud: SimpleNamespace) -> None:
    info = cloud.tenant.get(f"{NETWORKING}/routers/{cloud.rb['id']}")["router"][
        "external_gateway_info"
    ]
    gateway, outside = info["external_fixed_ips"][0]["ip_address"], on_host(lab, "outside")
    question = [(cloud.places["g1"], "tcp", "80")]
    answer = says(cloud, "unknown", "SNAT is off", "outside", "truth-g1", "tcp", "80")
    assert really(outside, question) == [False]
    way = shlex.split(answer["fix"].partition(": ")[2])
    assert way == ["ip", "route", "add", "10.63.0.0/24", "via", gateway]
    lab.exec("outside", *way)
    try:
        assert really(outside, question) == [True]
    finally:
        lab.exec("outside", "ip", "route", "del", "10.63.0.0/24")


def test_ports_that_are_down_and_why(cloud: SimpleNamespace) -> None:
    tenant, network = cloud.tenant, cloud.red["id"]
    unplugged = tenant.make("ports", network_id=network, **{"binding:host_id": "compute1"})
    failed = tenant.make("ports", network_id=network, **{"binding:host_id": "nowhere"})
    loose = tenant.make("ports", network_id=network)
    try:
        says(cloud, "unreachable", "is not plugged", "r1", unplugged["id"])
        says(cloud, "unreachable", "administratively down", "r1", "truth-b2")
        says(cloud, "unreachable", "Host nowhere", "r1", failed["id"])
        says(cloud, "unreachable", "is bound to no host", "r1", loose["id"])
    finally:
        for port in (unplugged, failed, loose):
            tenant.delete(f"{NETWORKING}/ports/{port['id']}")


def test_a_host_whose_agent_is_silent(lab: RunningLab, cloud: SimpleNamespace) -> None:
    process = lab.process("compute2")
    hosts.switch_service(lab.lab, "compute2", process, "agent", on=False)
    try:
        answer = says(cloud, "unknown", "host compute2", "r1", "truth-r3")
        assert answer["decided_by"] == "host/compute2" and "it would arrive" in answer["sentence"]
        says(cloud, "unknown", "does not report any more", "r1", "truth-r3")
        # It goes on forwarding all the while, and ways that do not touch it are as sure as before.
        assert cloud.instances["r1"].pings(cloud.places["r3"])
        assert explained(cloud, "r1", "truth-g1")["verdict"] == "reachable"
    finally:
        hosts.switch_service(lab.lab, "compute2", process, "agent", on=True)
    says(cloud, "reachable", "", "r1", "truth-r3")


def test_a_broken_tunnel(lab: RunningLab, cloud: SimpleNamespace) -> None:
    """The cable of compute2's underlay is pulled: its agent still talks to the server, and says what is wrong."""
    r1: Instance = cloud.instances["r1"]
    lab.exec("fabric", "ip", "link", "set", "u-compute2", "down")
    try:
        assert not r1.pings(cloud.places["r3"])
        says(cloud, "unknown", "the tunnel between them is broken", "r1", "truth-r3")
        # Who hears nobody is to blame: known when all have told what they do not hear.
        RunningLab.until(
            lambda: explained(cloud, "r1", "truth-r3")["decided_by"] == "host/compute2", 40
        )
        assert explained(cloud, "r1", "truth-g1")["verdict"] == "reachable"
    finally:
        lab.exec("fabric", "ip", "link", "set", "u-compute2", "up")
    says(cloud, "reachable", "", "r1", "truth-r3")
    r1.reaches(cloud.places["r3"])


def netloom(lab: RunningLab, *words: str) -> subprocess.CompletedProcess[str]:
    exports = settings.exports(lab.lab, lab.state.port, "admin")
    pairs = (
        line.removeprefix("export ").partition("=")[::2]
        for line in exports.splitlines()
        if "=" in line
    )
    variables = {**os.environ, **{name: shlex.split(value)[0] for name, value in pairs}}
    line = [sys.executable, "-m", "netloom", *words]
    return subprocess.run(line, capture_output=True, text=True, check=False, env=variables)


@pytest.mark.parametrize(
    ("words", "status", "said"),
    [
        (("outside", "truth-r1"), 0, "REACHABLE: "),
        (("truth-r1", "truth-b2"), 1, "Decided by port truth-b2 ("),
        (("truth-g1", WEB), 2, "UNKNOWN: Cannot say: "),
        (("truth-r1", "nonsense"), 2, "netloom: there is no instance, port or address nonsense\n"),
        (
            ("truth-r1", "truth-r2", "--protocol", "tcp"),
            2,
            "netloom: tcp needs a port: add --port\n",
        ),
        (
            ("truth-r1", "truth-r2", "--protocol", "tcp", "--port", "ssh"),
            2,
            "netloom: ssh is no port: 1 to",
        ),
    ],
)
def test_the_command_s_exit_status(
    lab: RunningLab, cloud: SimpleNamespace, words: tuple[str, ...], status: int, said: str
) -> None:
    done = netloom(lab, "explain", *words)
    assert done.returncode == status and said in done.stdout + done.stderr, done
    if not done.stderr:
        whole = json.loads(netloom(lab, "explain", *words, "--json").stdout)
        assert whole["sentence"] in done.stdout and whole["fix"] in done.stdout


def test_each_hop_s_command_shows_the_hop(lab: RunningLab, cloud: SimpleNamespace) -> None:
    """Typed as printed, on the host that is named, while such packets pass."""
    kinds: set[str] = set()
    fip, outside = cloud.places["fip-r1"], on_host(lab, "outside")
    sending = Background([*outside, "ping", "-n", "-i", "0.2", fip])
    try:
        assert sending.process.stdout is not None
        for _ in range(3):
            sending.process.stdout.readline()
        answer = explained(cloud, "outside", "truth-r1")
        for hop in answer["there"] + answer["back"]:
            line = shlex.split(hop["command"])
            if "tcpdump" in line:
                at = line.index("tcpdump")
                line[at : at + 1] = [
                    "timeout",
                    "10",
                    "tcpdump",
                    "-c",
                    "8",
                ]  # others' frames pass too
            said = lab.exec(hop["host"], *line)
            kinds.add(hop["kind"])
            if hop["kind"] == "flow":
                shows = "actions=" if "ovs-" in hop["command"] else "chain "
                assert shows in said, (hop, said)
            elif "tcpdump" in line or hop["kind"] in ("nat", "route", "arp"):
                known = "|".join(
                    map(re.escape, (fip, cloud.places["r1"], "203.0.113.1", "10.61.0.1", "VXLAN"))
                )
                assert re.search(rf"\b({known})\b", said), (hop, said)
    finally:
        sending.stop()
    assert kinds >= {
        "outside",
        "wire",
        "flow",
        "device",
        "nat",
        "route",
        "arp",
        "tunnel",
        "instance",
    }
