"""Namespaces, devices and routes as the `ip` and `sysctl` commands that would make them."""

from __future__ import annotations

from netloom.model.hoststate import Device, Namespace, NsRoute


def ip_commands(item: Namespace | Device | NsRoute) -> list[str]:
    """The `ip` and `sysctl` commands that would make a namespace, a device in it or a route."""
    match item:
        case Namespace():
            run = f"ip netns exec {item.name} sysctl -w"
            settings = [f"{run} net.{key}={value}" for key, value in sorted(item.sysctls.items())]
            return [f"ip netns add {item.name}", f"ip -n {item.name} link set lo up", *settings]
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
