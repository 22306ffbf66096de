"""What each backend can carry, and what rules and clients are told of it."""

from __future__ import annotations

from typing import get_args

import pytest

from netloom.model import HostFacts, Network
from netloom.model.hosts import Backend as Name
from netloom.network import backends, binding, neutron_agents
from tests.support.records import Records


def test_each_backend_that_a_host_may_name_is_in_the_table() -> None:
    assert set(backends.BACKENDS) == set(get_args(Name))


def host(**facts: object) -> HostFacts:
    return HostFacts(host="h", tunnel_ip="192.0.2.1", **facts)  # type: ignore[arg-type]


VXLAN = Network(id="n", network_type="vxlan", segmentation_id=1)
FLAT = Network(id="n", network_type="flat", physical_network="extnet")


@pytest.mark.parametrize("name", backends.BACKENDS)
def test_a_host_carries_what_its_backend_and_its_wires_can(name: str) -> None:
    here = host(backend=name)
    assert backends.carries(here, VXLAN) and not backends.carries(here, FLAT)
    assert backends.carries(host(backend=name, bridge_mappings={"extnet": "br-extnet"}), FLAT)
    assert not backends.carries(here, Network(id="n", network_type="local"))
    assert backends.vif(here, FLAT, "normal") is None
    assert backends.vif(here, VXLAN, "direct") is None


def test_what_nova_is_told() -> None:
    assert backends.vif(host(capabilities={"datapath_type": "netdev"}), VXLAN, "normal") == (
        "ovs",
        {
            "connectivity": "l2",
            "port_filter": True,
            "ovs_hybrid_plug": False,
            "ovs_create_tap": True,
            "datapath_type": "netdev",
            "bound_drivers": {"0": "openvswitch"},
        },
    )
    vif_type, details = backends.vif(host(backend="none"), VXLAN, "normal") or ("", {})
    assert vif_type == "other" and details["bound_drivers"] == {"0": "none"}


def test_ports_and_agents_of_a_simulated_host(world: Records) -> None:
    world.host("sim", backend="none")
    port = world.port(world.network(), **{"binding:host_id": "sim"})
    assert port.vif_type == "other" and binding.is_bound(port)
    agents = {a.agent_type: a for a in neutron_agents.list_all(world.w, world.ctx)}
    assert set(agents) == {"Simulated agent", "DHCP agent", "Metadata agent"}
    (shown,) = neutron_agents.show(world.w, world.ctx, [agents["Simulated agent"]])
    assert shown["binary"] == "netloom-agent" and "datapath_type" not in shown["configurations"]


def test_a_host_with_linux_bridges() -> None:
    """What its kernel does not make it does not carry, and says so."""
    facts: dict[str, object] = {
        "backend": "linuxbridge",
        "bridge_mappings": {"extnet": "br-extnet"},
        "physical_interfaces": {"br-extnet": "eth1"},
    }
    here = host(**facts)
    vlan = Network(id="n", network_type="vlan", physical_network="extnet", segmentation_id=7)
    assert backends.vif(here, VXLAN, "normal") == (
        "bridge",
        {"connectivity": "l2", "port_filter": True, "bound_drivers": {"0": "linuxbridge"}},
    )
    assert backends.carries(here, vlan)
    without = host(**facts, capabilities={"vlan_devices": "no"})
    assert backends.lacks(without, vlan) == "vlan networks (Linux bridges)"
    geneve = Network(id="n", network_type="geneve", segmentation_id=1)
    assert backends.lacks(host(**facts, tunnel_types=("vxlan", "geneve")), geneve)
    told = backends.configurations(here)
    assert told["interface_mappings"] == {"extnet": "eth1"} and "bridge_mappings" not in told
