"""Why a router is on no host."""

from __future__ import annotations

from typing import Any

from msgspec.structs import replace

from netloom.explain.answer.placing import on_no_host
from netloom.explain.cause import Cause
from netloom.explain.cloud import Cloud, Health
from netloom.model.hosts import HostFacts
from netloom.model.networking import Network, Port, Router
from netloom.plan import VERSION
from tests.support.explained import Kept

ROUTER = Router(id="r", name="edge")
PORT = Port(
    id="p",
    network_id="n",
    mac_address="fa:16:3e:00:00:01",
    device_id="r",
    device_owner="network:router_gateway",
)
FLAT: dict[str, Any] = {"network_type": "flat", "physical_network": "public"}


def cloud(network: Network, *, alive: bool = True, enabled: bool = True, **mapped: str) -> Cloud:
    facts = HostFacts(
        host="net1", tunnel_ip="192.0.2.1", roles=("network",), bridge_mappings=mapped
    )
    health = Health(
        alive=alive, applied_seq=1, wanted_seq=1, plan_version=VERSION, enabled=enabled, agent="a"
    )
    objects = {"network": {"n": network}, "port": {"p": PORT}, "router": {"r": ROUTER}}
    return Cloud(
        objects=objects, facts={"net1": facts}, health={"net1": health}, reports=Kept([], {})
    )


def test_no_host_is_alive_or_it_is_switched_off() -> None:
    said = on_no_host(cloud(Network(id="n"), alive=False), ROUTER)
    assert said.sentence == "Router edge is on no host: no network host is alive."
    said = on_no_host(cloud(Network(id="n"), enabled=False), ROUTER)
    assert said.cause is Cause.HOST_DISABLED and "--enable a" in said.fix


def test_what_the_host_lacks_is_named() -> None:
    said = on_no_host(cloud(Network(id="n", **FLAT), extnet="br-extnet"), ROUTER)
    assert said.sentence == "Router edge is on no host: host net1 has no physical network public."
    said = on_no_host(cloud(Network(id="n", network_type="gre")), ROUTER)
    assert said.sentence == "Router edge is on no host: host net1 has no gre tunnels."


def test_an_operator_took_it_or_it_is_a_matter_of_seconds() -> None:
    world = cloud(Network(id="n", **FLAT), public="br-public")
    said = on_no_host(world, replace(ROUTER, held=True))
    assert said.fix == "openstack network agent add router --l3 a r"
    assert not on_no_host(world, ROUTER).sure
