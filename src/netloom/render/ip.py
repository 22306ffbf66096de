"""Namespaces, devices and routes as the `ip` and `sysctl` commands that would make them."""

from __future__ import annotations

from netloom.model.hoststate import Device, Namespace, Neighbour, NsRoute
from netloom.model.sysctls import FORWARD


def ip_commands(item: Namespace | Device | NsRoute | Neighbour) -> list[str]:
    """The `ip` and `sysctl` commands that would make a namespace, a device in it or a route."""
    match item:
        case Namespace():
            # The settings that every namespace has are in model/sysctls.py.
            forward = f"ip netns exec {item.name} sysctl -w net.{FORWARD}={int(item.forward)}"
            return [f"ip netns add {item.name}", f"ip -n {item.name} link set lo up", forward]
        case Device():
            ip = f"ip -n {item.namespace}"
            return [
                f"ip link set {item.name} netns {item.namespace}",
                f"{ip} link set {item.name} address {item.mac} mtu {item.mtu} up",
                *(f"{ip} address add {address} dev {item.name}" for address in item.addresses),
            ]
        case NsRoute():
            via = f" via {item.gateway}" if item.gateway else ""
            return [f"ip -n {item.namespace} route add {item.destination}{via} dev {item.device}"]
        case Neighbour():
            ip = f"ip -n {item.namespace} neigh replace {item.address}"
            return [f"{ip} lladdr {item.mac} dev {item.device} nud permanent"]
