"""Which of a host's own words the server takes: within what the operator granted, and nobody else's address."""

from __future__ import annotations

from collections.abc import Iterable

from netloom.model import HostFacts, HostGrant
from netloom.model.context import NetworkSettings
from netloom.model.errors import Conflict, Forbidden
from netloom.model.family import of as family_of
from netloom.store import HostRow, Reader, Writer


def admit(w: Writer, settings: NetworkSettings, host: HostRow, facts: HostFacts) -> None:
    """Take the facts of a host into the store.

    Raises Forbidden for facts beyond its grant, Conflict for a tunnel address of the other address family than this cloud's
    tunnels have, and Conflict for the tunnel address of another host: the tunnels to that one would end here. All say what
    to do.
    """
    beyond = host.granted.lacks(facts)
    if beyond is not None:
        raise Forbidden(
            f"Host {host.name} is not granted {_named(beyond)}: take it out of the agent's settings, or type on the"
            f" server: netloom host grant {host.name} {options(_both(host.granted, beyond))} --config FILE"
        )
    if not _of_the_overlay(settings, facts):
        raise Conflict(
            f"tunnel_ip {facts.tunnel_ip} is no IPv{settings.overlay_ip_version} address, and this cloud's tunnels go over"
            f" IPv{settings.overlay_ip_version}: give the host such an address, or set overlay_ip_version in the server's"
            " settings, for all hosts alike"
        )
    other = _other_end(w, host, facts)
    if other is not None:
        raise Conflict(
            f"tunnel_ip {facts.tunnel_ip} is that of host {other}: give this host an address of its own, or,"
            f" if {other} is no more, type on the server: netloom host remove {other} --config FILE"
        )
    w.put_host(host.name, facts=facts)


def is_admitted(r: Reader, settings: NetworkSettings, host: HostRow) -> bool:
    """Whether `admit` would take the facts that the host has reported, once more."""
    facts = host.facts
    return (
        facts is not None
        and host.granted.lacks(facts) is None
        and _of_the_overlay(settings, facts)
        and not _other_end(r, host, facts)
    )


def _of_the_overlay(settings: NetworkSettings, facts: HostFacts) -> bool:
    """Whether a host's tunnels go over the IP version that this cloud's do: networks' MTUs are made for one."""
    end = facts.tunnel_ip
    return end is None or family_of(end).version == settings.overlay_ip_version


def _other_end(r: Reader, host: HostRow, facts: HostFacts) -> str | None:
    """Another host that has the tunnel address, where it is in the way."""
    if facts.tunnel_ip is None:
        return None
    had = host.facts is not None and host.facts.tunnel_ip == facts.tunnel_ip
    others = r.hosts_with_tunnel_ip(facts.tunnel_ip)
    # Two that have it from before: the first by name keeps it, so that one of them goes on.
    return next((o for o in others if o != host.name and not (had and host.name < o)), None)


def within(facts: HostFacts | None, granted: HostGrant) -> HostFacts | None:
    """Cut facts to a grant, for a host whose grant became narrower: no roles left is as good as no report."""
    if facts is None or granted.lacks(facts) is None:
        return facts
    bridges = {
        network: bridge
        for network, bridge in facts.bridge_mappings.items()
        if "*" in granted.physical_networks or network in granted.physical_networks
    }
    uplinks = {
        bridge: device
        for bridge, device in facts.physical_interfaces.items()
        if bridge in bridges.values()
    }
    return HostFacts(
        host=facts.host,
        backend=facts.backend,
        tunnel_ip=facts.tunnel_ip,
        tunnel_types=facts.tunnel_types,
        bridge_mappings=bridges,
        physical_interfaces=uplinks,
        bonds={bond: cards for bond, cards in facts.bonds.items() if bond in uplinks.values()},
        capabilities=facts.capabilities,
        roles=tuple(role for role in facts.roles if role in granted.roles),
        instance_types=tuple(t for t in facts.instance_types if t in granted.instance_types),
        availability_zone=facts.availability_zone,
        plan_version=facts.plan_version,
        started_at=facts.started_at,
    )


def options(granted: HostGrant) -> str:
    """The options of `netloom host grant` that grant this."""
    return " ".join(
        [
            *_each("--role", granted.roles),
            *_each("--physical-network", granted.physical_networks),
            *_each("--instance-type", granted.instance_types),
        ]
    )


def _each(option: str, values: Iterable[str]) -> list[str]:
    return [f"{option} {chr(39) + value + chr(39) if value == '*' else value}" for value in values]


def _named(beyond: HostGrant) -> str:
    parts = [
        *(f"the role {role}" for role in beyond.roles),
        *(f"the physical network {network}" for network in beyond.physical_networks),
        *(f"instances of type {kind}" for kind in beyond.instance_types),
    ]
    return ", ".join(parts)


def _both(one: HostGrant, other: HostGrant) -> HostGrant:
    return HostGrant(
        roles=tuple(sorted({*one.roles, *other.roles})),
        physical_networks=tuple(sorted({*one.physical_networks, *other.physical_networks})),
        instance_types=tuple(sorted({*one.instance_types, *other.instance_types})),
    )
