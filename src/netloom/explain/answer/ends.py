"""The two ends of a packet: is there somebody who can send and answer? Before any walk, and after one that went well."""

from __future__ import annotations

from netloom.explain.answer import fixes
from netloom.explain.answer.resolve import Spot, network_of
from netloom.explain.cause import Cause, Reason, capital
from netloom.explain.cloud import Cloud
from netloom.model.cloud import Server
from netloom.model.names import OWNER_DHCP, SERVICE_OWNERS
from netloom.model.networking import FloatingIP, Network, Port, Router, Subnet
from netloom.model.origin import HOST, Origin

BINDING_FAILED = "binding_failed"


def is_service(port: Port) -> bool:
    """Whether a port is a router's or DHCP's: hosts make these themselves."""
    return port.device_owner in SERVICE_OWNERS


def unplaced(cloud: Cloud, spot: Spot) -> Reason | None:
    """Ends that exist in the API but nowhere on a host."""
    port = spot.port
    if spot.floatingip is not None and port is None:
        sentence = f"Floating IP {spot.address} is associated with no port."
        fix = fixes.associate(cloud, spot.floatingip)
        if forwardings := cloud.forwardings_of.get(spot.floatingip.id):
            those = ", ".join(f"{f.protocol}/{f.external[0]}-{f.external[1]}" for f in forwardings)
            sentence = f"Floating IP {spot.address} leads on only {those}, by port forwardings."
            fix = "openstack floating ip port forwarding create --help"
        return Reason(sentence, Origin.of(spot.floatingip), fix, cause=Cause.NO_FLOATING_IP)
    if port is None or is_service(port):
        return None
    named = cloud.name(Origin.of(port))
    server = cloud.server_of.get(port.id)
    if server is not None and (reason := power(cloud, server)) is not None:
        return reason
    if not port.host:
        return unbound(cloud, port, capital(named))
    if port.host not in cloud.facts:
        return Reason(
            f"Host {port.host}, where {named} is, has never reported.",
            Origin(HOST, port.host),
            f"start netloom agent on {port.host}; {fixes.look_at_host(port.host)}",
            cause=Cause.HOST_UNKNOWN,
        )
    if port.vif_type == BINDING_FAILED:
        network = cloud.name(Origin(Network.KIND, port.network_id))
        return Reason(
            f"{capital(named)} could not be bound to host {port.host}: the host does not have what {network} "
            "needs (its physical network, or tunnels).",
            Origin.of(port),
            f"openstack network agent list --host {port.host} --long; give the host what is missing "
            "([physical_networks] or tunnel_ip in its agent.toml), then change the port in any way: it is bound again",
            cause=Cause.BINDING_FAILED,
        )
    return None


def unbound(cloud: Cloud, port: Port, named: str) -> Reason:
    """A port that no instance has."""
    return Reason(
        f"{named} is bound to no host: no instance has it.",
        Origin.of(port),
        fixes.boot(cloud, port),
        cause=Cause.UNBOUND,
    )


def power(cloud: Cloud, server: Server) -> Reason | None:
    """An instance that does not run neither sends nor answers."""
    decider = Origin.of(server)
    named, state = capital(cloud.name(decider)), cloud.reports.state(server.id)
    told = next(
        (
            row
            for row in cloud.reports.of([server.id])
            if (row.kind, row.aspect) == (Server.KIND, "instance") and row.host == server.host
        ),
        None,
    )
    failed = told.detail if told is not None and told.state == "error" else None
    if failed is not None or (state == "ERROR" and not server.host):
        fault = failed or (server.fault or {}).get("message", "")
        why = f": {fault}" if fault else ""
        fix = fixes.restart(server.id) if server.host else f"openstack server delete {server.id}"
        return Reason(f"{named} is in ERROR{why}.", decider, fix, cause=Cause.SERVER_FAILED)
    if server.power != "on":
        return Reason(
            f"{named} is stopped.", decider, fixes.start(server.id), cause=Cause.SERVER_STOPPED
        )
    doubts = {
        "ERROR": ("is in ERROR, and whether it runs is not known", Cause.SERVER_FAILED),
        "SHUTOFF": ("is being started", Cause.SERVER_BUILDING),
        "BUILD": ("is still being built", Cause.SERVER_BUILDING),
    }
    health = cloud.health.get(server.host)
    current = health is not None and health.applied_seq >= server.power_seq
    # It runs: what holds up its status is a card that is not on the wire, and ports speak for themselves.
    if state not in doubts or (told is not None and told.state == "ok" and current):
        return None
    text, cause = doubts[state]
    shown = f"openstack server show -c status -c fault {server.id}"
    fix = fixes.restart(server.id) if state == "ERROR" else shown
    return Reason(f"{cloud.name(decider)} {text}.", decider, fix, sure=False, cause=cause)


def no_floating_ip(cloud: Cloud, start: Spot, target: Spot) -> Reason | None:
    """From outside to a port on a private network that is not asked for by its floating IP."""
    network = network_of(cloud, target)
    if not start.outside or target.port is None or target.floatingip or network is None:
        return None
    if network.physical_network:
        return None
    port = target.port
    named = cloud.name(Origin.of(port))
    where = "" if target.address in named else f" ({target.address})"
    fips = [fip for _, fip in sorted(cloud.floatingips.items())]
    mine = next((fip for fip in fips if fip.port_id == port.id), None)
    if is_service(port):
        return Reason(
            f"{capital(named)}{where} is on {cloud.name(Origin.of(network))}, which is private: "
            "nothing outside leads to it.",
            Origin.of(network),
            "ask from an instance on that network",
            cause=Cause.PRIVATE,
        )
    if mine is not None:
        return Reason(
            f"{target.address} is a private address: outside, {named} is known by floating IP "
            f"{mine.floating_ip_address} only.",
            Origin.of(mine),
            f"use {mine.floating_ip_address}",
            cause=Cause.PRIVATE,
        )
    sentence = f"No floating IP leads to {named}{where}, and its network is private"
    hinders, fix = fixes.floating_ip(cloud, port, target.address)
    if hinders:
        sentence = f"{sentence}; no router leads from {cloud.name(hinders)} outside"
        if hinders.kind == Router.KIND:
            sentence = (
                f"{sentence.partition(';')[0]}; {cloud.name(hinders)} has no external gateway"
            )
        return Reason(f"{sentence}.", hinders, fix, cause=Cause.NO_FLOATING_IP)
    wrong = next((fip for fip in fips if _is_free_for(fip, port)), None)
    wrong = wrong or next((fip for fip in fips if _leads_beside(cloud, fip, port)), None)
    if wrong is None:
        return Reason(f"{sentence}.", Origin.of(port), fix, cause=Cause.NO_FLOATING_IP)
    leads = cloud.name(Origin(Port.KIND, wrong.port_id)) if wrong.port_id else "no port"
    return Reason(
        f"{sentence}; floating IP {wrong.floating_ip_address} leads to {leads}.",
        Origin.of(wrong),
        fix,
        cause=Cause.NO_FLOATING_IP,
    )


def _is_free_for(fip: FloatingIP, port: Port) -> bool:
    return fip.port_id is None and fip.project_id == port.project_id


def _leads_beside(cloud: Cloud, fip: FloatingIP, port: Port) -> bool:
    """Whether a floating IP leads to another port of the same network."""
    other = cloud.ports.get(fip.port_id or "")
    return other is not None and other.network_id == port.network_id


def not_from_dhcp(cloud: Cloud, spot: Spot) -> Reason | None:
    """An instance has the one address that DHCP gives its card; any other only if somebody set it there by hand."""
    port = spot.port
    if port is None or is_service(port) or spot.pair or not port.host:
        return None
    subnets = [
        (f, cloud.subnets[f.subnet_id]) for f in port.fixed_ips if f.subnet_id in cloud.subnets
    ]
    own = next((s for f, s in subnets if f.ip_address == spot.inside), None)
    if own is None or own.ip_version != 4:
        return None
    named = cloud.name(Origin.of(port))
    has = f"it arrives if the instance of {named} has the address {spot.inside}"
    lease = next((f for f, s in subnets if s.enable_dhcp and s.ip_version == 4), None)
    if lease is not None and lease.ip_address == spot.inside:
        return _no_server(cloud, port, has)
    if not own.enable_dhcp and lease is None:
        subnet = Origin.of(own)
        return Reason(
            f"{has}, which DHCP does not give: it is switched off on {cloud.name(subnet)}.",
            subnet,
            fixes.give_dhcp(own.id),
            sure=False,
            cause=Cause.NO_DHCP,
        )
    sentence = f"{has}: DHCP gives it {lease.ip_address if lease else 'another'} only."
    if spot.floatingip is not None and lease is not None:
        decider = Origin.of(spot.floatingip)
        fix = fixes.fixed_address(port, lease.ip_address, spot.floatingip)
    else:
        decider = Origin.of(port)
        fix = f"in the instance: ip address add {spot.inside}/{_length(own)} dev eth0"
    return Reason(sentence, decider, fix, sure=False, cause=Cause.NOT_FROM_DHCP)


def _length(subnet: Subnet) -> str:
    return subnet.cidr.partition("/")[2]


def _no_server(cloud: Cloud, port: Port, has: str) -> Reason | None:
    """DHCP is switched on, but its port, which its servers on all hosts share, is missing or switched off."""
    servers = [p for p in cloud.ports_of_network(port.network_id) if p.device_owner == OWNER_DHCP]
    if any(server.admin_state_up for server in servers):
        return None
    network = Origin(Network.KIND, port.network_id)
    if servers:
        decider, fix = (
            Origin(Port.KIND, servers[0].id),
            fixes.enable(Origin(Port.KIND, servers[0].id)),
        )
        why = f"{cloud.name(decider)} is administratively down"
    else:
        decider, fix = network, fixes.who_is_there(network)
        why = f"{cloud.name(network)} has no DHCP port"
    return Reason(
        f"{has}, which DHCP does not give now: {why}.",
        decider,
        fix,
        sure=False,
        cause=Cause.NO_DHCP,
    )
