"""Why a router is on no host: those that could carry it are silent, switched off, or lack one of its networks."""

from __future__ import annotations

from netloom.explain.answer import fixes
from netloom.explain.cause import Cause, Reason, capital
from netloom.explain.cloud import Cloud
from netloom.model.hosts import HostFacts
from netloom.model.networking import Network, Router
from netloom.model.origin import HOST, Origin


def on_no_host(cloud: Cloud, router: Router) -> Reason:
    """Say why a router is on no host, and what would give it one."""
    origin = Origin.of(router)
    named = capital(cloud.name(origin))
    able = {name: facts for name, facts in cloud.facts.items() if "network" in facts.roles}
    living = {name: h for name in sorted(able) if (h := cloud.health.get(name)) and h.alive}
    for name, health in living.items():
        if not health.enabled:
            return Reason(
                f"{named} is on no host: host {name} is switched off for new routers.",
                Origin(HOST, name),
                fixes.enable_host(health.agent),
                cause=Cause.HOST_DISABLED,
            )
    agents = "openstack network agent list --agent-type l3"
    if not living:
        return Reason(
            f"{named} is on no host: no network host is alive.",
            origin,
            agents,
            cause=Cause.UNPLACED,
        )
    lacks = {name: _lack(cloud, router, able[name]) for name in living}
    if all(lacks.values()):
        said = ", ".join(f"host {name} has no {what}" for name, what in lacks.items())
        return Reason(f"{named} is on no host: {said}.", origin, agents, cause=Cause.UNPLACED)
    if router.held:
        fit = next(name for name, what in lacks.items() if not what)
        return Reason(
            f"{named} is on no host: an operator took it off its last one.",
            origin,
            f"openstack network agent add router --l3 {living[fit].agent} {router.id}",
            cause=Cause.UNPLACED,
        )
    return Reason(f"{named} is on no host yet.", origin, agents, sure=False, cause=Cause.UNPLACED)


def _lack(cloud: Cloud, router: Router, facts: HostFacts) -> str:
    """What a host lacks of what the router's networks need, in words; empty where it lacks nothing."""
    ids = {port.network_id for port in cloud.moment.ports_of_router(router.id)}
    networks = [cloud.networks[ident] for ident in sorted(ids) if ident in cloud.networks]
    return next((what for network in networks if (what := _of_network(network, facts))), "")


def _of_network(network: Network, facts: HostFacts) -> str:
    if network.physical_network is not None:
        there = network.physical_network in facts.bridge_mappings
        return "" if there else f"physical network {network.physical_network}"
    carried = facts.tunnel_ip is not None and network.network_type in facts.tunnel_types
    return "" if carried else f"{network.network_type} tunnels"
