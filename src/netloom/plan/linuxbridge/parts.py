"""The parts of a plan that a host with Linux bridges has otherwise than one with Open vSwitch; see `plan/parts.py`."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from netloom.model.family import V4
from netloom.model.hoststate import HostObject, Refusal
from netloom.model.placement import places
from netloom.plan import dhcp, neighbours
from netloom.plan.index import Index, origin
from netloom.plan.linuxbridge import bridges, groups, limits, ports

Made = Iterator[HostObject]


def _host(index: Index, id: str) -> Made:
    yield from bridges.plan_host(index)


def _network(index: Index, id: str) -> Made:
    network = index.network(id)
    if network is None or not index.is_present(id):
        return
    yield from bridges.plan_bridge(index, network)
    if network.admin_state_up:
        port = index.dhcp_port_of(id)
        yield from dhcp.plan_network(index, network, port)
        if port is not None:
            yield from ports.dhcp_device(index, network, port)


def _broadcast(index: Index, id: str) -> Made:
    network = index.network(id)
    if network is not None and index.is_present(id):
        yield from bridges.plan_ends(index, network)


def _clients(index: Index, id: str) -> Made:
    network = index.network(id)
    port = index.dhcp_port_of(id)
    if network is None or port is None or not index.is_present(id) or not network.admin_state_up:
        return
    yield from dhcp.plan_clients(index, network, port)
    yield neighbours.bound_of_dhcp(index, network, port, V4)


def _port(index: Index, id: str) -> Made:
    port = index.port(id)
    if port is None:
        return
    yield from groups.plan_member(index, port)
    network = index.network(port.network_id)
    if network is None or not index.is_present(network.id):
        return
    if index.is_here(port) and not port.key:
        detail = "the server has given the port no number: it is older than this host's agent"
        yield Refusal(detail=detail, state="error", origin=origin(port))
        return
    yield from neighbours.beside_routers(index, network, port, V4)
    if index.is_here(port):
        yield from ports.plan_port(index, network, port)
        yield from limits.plan_port(index, network, port)
        yield from ports.left_out(port)
        if index.is_up(port) and index.dhcp_port_of(network.id) is not None:
            yield from dhcp.refusals_of_port(index, network, port)


def _group(index: Index, id: str) -> Made:
    yield from groups.plan_group(index, id)


def _addresses(index: Index, id: str) -> Made:
    yield from groups.plan_addresses(index, id)


def _limits(index: Index, id: str) -> Made:
    router = index.row("routers", id)
    if router is not None and index.host in places(router):
        yield from limits.plan_router(index, router)


KINDS: dict[str, Callable[[Index, str], Made]] = {
    "host": _host,
    "port": _port,
    "group": _group,
    "addresses": _addresses,
    "network": _network,
    "broadcast": _broadcast,
    "clients": _clients,
    "limits": _limits,
}
