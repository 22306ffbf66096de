"""A tenant wants to be another project's server: in texts of its own ports, it says so wherever it can."""

from __future__ import annotations

import base64
from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from netloom.metadata.answers import answer
from netloom.model import Router
from netloom.network import dhcp, placement
from tests.support.compute_cloud import URL, ComputeCloud, at, boot, booted, network, show, world

SECRET = base64.b64encode(b"the victim's secret").decode()
PORTS = "/networking/v2.0/ports"


@pytest.fixture(scope="module")
def cloud(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ComputeCloud]:
    with world(tmp_path_factory.mktemp("who")) as there:
        there.host("node1")
        yield there


@pytest.fixture(scope="module")
def victim(cloud: ComputeCloud) -> Iterator[httpx.Client]:
    with cloud.cloud.client("admin", "admin") as client:
        yield client


@pytest.fixture(scope="module")
def attacker(cloud: ComputeCloud) -> Iterator[httpx.Client]:
    with cloud.cloud.client() as client:
        yield client


@pytest.fixture(scope="module")
def shared(victim: httpx.Client) -> str:
    """A network that both projects use."""
    return network(victim, shared=True)


@pytest.fixture
def target(victim: httpx.Client, cloud: ComputeCloud, shared: str) -> Iterator[str]:
    """The victim's server, ACTIVE."""
    made = booted(victim, cloud, networks=[{"uuid": shared}], user_data=SECRET)
    cloud.runs(made["id"])
    assert show(victim, made["id"])["status"] == "ACTIVE"
    yield made["id"]
    victim.delete(f"{URL}/servers/{made['id']}")


def port(client: httpx.Client, network_id: str, **attrs: Any) -> dict[str, Any]:
    made = client.post(PORTS, json={"port": {"network_id": network_id, **attrs}})
    assert made.status_code == 201, made.text
    return made.json()["port"]


def gone(client: httpx.Client, port_id: str) -> None:
    """Delete a port; a member may delete none that says it is an instance's."""
    put = {"port": {"device_id": "", "device_owner": ""}}
    assert client.put(f"{PORTS}/{port_id}", json=put).status_code == 200
    assert client.delete(f"{PORTS}/{port_id}").status_code == 204


def claims(client: httpx.Client, network_id: str, server_id: str) -> list[dict[str, Any]]:
    """Ports that say in every way a tenant has that they are the server's."""
    at_once = port(client, network_id, device_id=server_id, device_owner="compute:nova")
    bare = port(client, network_id, device_id=server_id)
    later = port(client, network_id)
    put = {"device_id": server_id, "device_owner": "compute:nova"}
    assert client.put(f"{PORTS}/{later['id']}", json={"port": put}).status_code == 200
    return [at_once, bare, later]


def test_to_read_its_metadata(
    cloud: ComputeCloud, victim: httpx.Client, attacker: httpx.Client, shared: str, target: str
) -> None:
    evil = claims(attacker, shared, target)
    # A card of an instance of the attacker's own, on the same host, that says it is the victim's.
    card = port(attacker, shared)
    own = booted(attacker, cloud, networks=[{"port": card["id"]}])
    put = {"port": {"device_id": target, "device_owner": "compute:nova"}}
    assert attacker.put(f"{PORTS}/{card['id']}", json=put).status_code == 200
    scope = cloud.cloud.services.scope
    scope.snapshot("node1")
    view = scope.view("node1")
    for each in evil:
        assert answer(view, each["id"], "/latest/user-data") is None
        assert answer(view, each["id"], "/openstack/latest/meta_data.json") is None
    said = answer(view, card["id"], "/openstack/latest/meta_data.json")
    assert said is not None and own["id"] in said[1].decode() and target not in said[1].decode()
    assert answer(view, card["id"], "/latest/user-data") is None
    attacker.delete(f"{URL}/servers/{own['id']}")
    for each in [*evil, card]:
        gone(attacker, each["id"])


def test_to_stand_among_its_addresses_and_to_block_it(
    cloud: ComputeCloud, victim: httpx.Client, attacker: httpx.Client, shared: str, target: str
) -> None:
    path = f"{URL}/servers/{target}"
    before = show(victim, target)
    interfaces = victim.get(f"{path}/os-interface").json()
    group = attacker.post(
        "/networking/v2.0/security-groups", json={"security_group": {"name": "trap"}}
    ).json()["security_group"]["id"]
    evil = claims(attacker, shared, target)
    evil.append(port(attacker, shared, device_id=target, security_groups=[group]))

    after = show(victim, target)
    assert {k: v for k, v in after.items() if k != "updated"} == {
        k: v for k, v in before.items() if k != "updated"
    }
    assert victim.get(f"{path}/os-interface").json() == interfaces
    for each in evil:
        assert victim.get(f"{path}/os-interface/{each['id']}").status_code == 404
        address = each["fixed_ips"][0]["ip_address"]
        listed = victim.get(f"{URL}/servers", params={"ip": f"^{address}$"}).json()["servers"]
        assert target not in {server["id"] for server in listed}
    shown = victim.get(f"{path}/os-security-groups").json()["security_groups"]
    assert group not in {each["id"] for each in shown}

    # What is done to the server is done to its own ports, and is not stopped by the others.
    mine = victim.post(
        "/networking/v2.0/security-groups", json={"security_group": {"name": "mine"}}
    ).json()["security_group"]["id"]
    for action in ("addSecurityGroup", "removeSecurityGroup"):
        done = victim.post(f"{path}/action", json={action: {"name": mine}}, headers=at("2.1"))
        assert done.status_code == 202, done.text
    done = victim.post(
        f"{path}/action", json={"removeSecurityGroup": {"name": group}}, headers=at("2.1")
    )
    assert done.status_code == 400
    for each in evil:
        now = attacker.get(f"{PORTS}/{each['id']}").json()["port"]
        assert now["security_groups"] == each["security_groups"]

    # It goes with its own ports and leaves the others as they are.
    assert victim.delete(path).status_code == 204
    for each in evil:
        now = attacker.get(f"{PORTS}/{each['id']}").json()["port"]
        assert now["device_id"] == target and now["revision_number"] <= 2
        gone(attacker, each["id"])


def test_to_have_one_card_in_two_instances(
    cloud: ComputeCloud, attacker: httpx.Client, shared: str
) -> None:
    card = port(attacker, shared)
    first = booted(attacker, cloud, networks=[{"port": card["id"]}])
    put = {"port": {"device_id": "", "device_owner": ""}}
    assert attacker.put(f"{PORTS}/{card['id']}", json=put).status_code == 200
    assert boot(attacker, cloud, networks=[{"port": card["id"]}]).status_code == 409
    assert attacker.delete(f"{URL}/servers/{first['id']}").status_code == 204
    second = booted(attacker, cloud, networks=[{"port": card["id"]}])
    assert attacker.delete(f"{URL}/servers/{second['id']}").status_code == 204
    assert attacker.delete(f"{PORTS}/{card['id']}").status_code == 204


def test_to_have_a_router_s_or_dhcp_s_port_on_another_s_network(
    attacker: httpx.Client, victim: httpx.Client, shared: str
) -> None:
    for owner in (
        "network:dhcp",
        "network:router_interface",
        "network:router_gateway",
        "network:floatingip",
        "network:distributed",
    ):
        body = {"port": {"network_id": shared, "device_owner": owner}}
        assert attacker.post(PORTS, json=body).status_code == 403, owner
        made = port(attacker, shared)
        put = {"port": {"device_owner": owner}}
        assert attacker.put(f"{PORTS}/{made['id']}", json=put).status_code == 403, owner
        assert attacker.delete(f"{PORTS}/{made['id']}").status_code == 204
    # On a network of its own a tenant may; another project's router it cannot join.
    router = victim.post("/networking/v2.0/routers", json={"router": {}}).json()["router"]["id"]
    own = network(attacker)
    body = {
        "network_id": own,
        "device_id": router,
        "device_owner": "network:router_interface",
    }
    refused = attacker.post(PORTS, json={"port": body})
    assert refused.status_code == 409 and "router" in refused.text.lower()


def test_to_delete_a_server_whose_port_became_a_router_s(
    cloud: ComputeCloud, attacker: httpx.Client
) -> None:
    """Not to be able to delete one's own server would be a way to hold a host's place for ever."""
    own = network(attacker, cidr="10.9.0.0/24")
    made = booted(attacker, cloud, networks=[{"uuid": own}])
    card = attacker.get(f"{URL}/servers/{made['id']}/os-interface").json()
    ident = card["interfaceAttachments"][0]["port_id"]
    put = {"port": {"device_id": "", "device_owner": ""}}
    assert attacker.put(f"{PORTS}/{ident}", json=put).status_code == 200
    router = attacker.post("/networking/v2.0/routers", json={"router": {}}).json()["router"]["id"]
    path = f"/networking/v2.0/routers/{router}"
    joined = attacker.put(f"{path}/add_router_interface", json={"port_id": ident})
    assert joined.status_code == 200, joined.text
    assert show(attacker, made["id"])["addresses"] == {}
    assert attacker.delete(f"{URL}/servers/{made['id']}").status_code == 204
    assert attacker.get(f"{PORTS}/{ident}").status_code == 200
    assert attacker.put(f"{path}/remove_router_interface", json={"port_id": ident}).is_success


def test_to_have_another_s_router_placed_by_ports_that_name_it(
    cloud: ComputeCloud, victim: httpx.Client, attacker: httpx.Client, shared: str
) -> None:
    router = victim.post("/networking/v2.0/routers", json={"router": {}}).json()["router"]["id"]
    own = network(attacker, cidr="10.10.0.0/24")
    evil = [port(attacker, where, device_id=router) for where in (own, shared)]
    with cloud.reader() as reader:
        found = reader.get(Router, router)
        assert found is not None
        assert placement.networks_of(reader, found) == [], "its host need not carry those networks"
        assert not dhcp.needed(reader, own)
    for each in evil:
        gone(attacker, each["id"])
    assert victim.delete(f"/networking/v2.0/routers/{router}").status_code == 204
