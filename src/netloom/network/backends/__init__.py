"""Backends: what carries networks on a host, what each can carry, and what clients are told of it.

A host says which backend it has (`HostFacts.backend`), and `BACKENDS` says the rest: rules ask here and name no backend
themselves. Nothing registers itself: a further backend is a module beside this one and a row of the table.
"""

from __future__ import annotations

from typing import Any

from netloom.model import QOS_RULES, HostFacts, Network
from netloom.network.backends.base import Backend
from netloom.network.backends.linuxbridge import LINUXBRIDGE
from netloom.network.backends.none import NONE
from netloom.network.backends.ovs import OVS

BACKENDS: dict[str, Backend] = {backend.name: backend for backend in (OVS, LINUXBRIDGE, NONE)}
"""By the name that a host gives."""


def of(facts: HostFacts) -> Backend:
    """Return the backend of a host."""
    return BACKENDS[facts.backend]


def carries(facts: HostFacts, network: Network) -> bool:
    """True where the network can be present on the host."""
    return not lacks(facts, network)


def lacks(facts: HostFacts, network: Network) -> str:
    """Return what the host would need to carry a network, in words; empty where it has all of it."""
    backend = of(facts)
    if network.physical_network not in (None, *facts.bridge_mappings):
        return f"physical network {network.physical_network}"
    need = backend.needs.get(network.network_type)
    if network.network_type not in backend.network_types or (
        need and facts.capabilities.get(need) == "no"
    ):
        return f"{network.network_type} networks ({backend.title})"
    tunnels = facts.tunnel_ip is not None and network.network_type in facts.tunnel_types
    return (
        "" if network.physical_network is not None or tunnels else f"{network.network_type} tunnels"
    )


def vif(facts: HostFacts, network: Network, vnic_type: str) -> tuple[str, dict[str, Any]] | None:
    """Return type and details of a port's VIF on the host; None where the host cannot realise such a port."""
    backend = of(facts)
    if vnic_type not in backend.vnic_types or not carries(facts, network):
        return None
    details: dict[str, Any] = {
        "connectivity": "l2",
        **backend.vif_details,
        **_told(facts),
        "bound_drivers": {"0": backend.driver},
    }
    return backend.vif_type, details


def can_do(rule_type: str, vif_type: str, vnic_type: str) -> bool:
    """Tell whether the hosts of a port carry out rules of a QoS type; of one that is bound to none, whether some could."""
    bound = [each for each in BACKENDS.values() if each.vif_type == vif_type]
    return any(
        rule_type in each.qos_rules and (bound or vnic_type in each.vnic_types)
        for each in bound or BACKENDS.values()
    )


def qos_rule_types() -> list[str]:
    """Return the types of QoS rules that each backend with any carries out, in the API's order."""
    sets = [each.qos_rules for each in BACKENDS.values() if each.qos_rules]
    return [kind.TYPE for kind in QOS_RULES if all(kind.TYPE in types for types in sets)]


def configurations(facts: HostFacts) -> dict[str, Any]:
    """Return what the API shows as `configurations` of the host's layer 2 agent."""
    cards = {
        name: facts.physical_interfaces[bridge]
        for name, bridge in facts.bridge_mappings.items()
        if bridge in facts.physical_interfaces
    }
    mapped = of(facts).maps
    return {
        mapped: facts.bridge_mappings if mapped == "bridge_mappings" else cards,
        "tunnel_types": list(facts.tunnel_types) if facts.tunnel_ip else [],
        "tunneling_ip": facts.tunnel_ip,
        **_told(facts),
    }


def cannot_match_ports_of(protocol: int) -> list[str]:
    """Return the titles of backends that cannot match the ports of an IP protocol.

    A rule holds wherever a port of its group is, so all of them must.
    """
    return [each.title for each in BACKENDS.values() if protocol not in each.port_protocols]


def _told(facts: HostFacts) -> dict[str, str]:
    return {name: facts.capabilities.get(name, usual) for name, usual in of(facts).told.items()}
