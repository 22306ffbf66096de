"""Namespaces, devices and routes as the `ip` and `sysctl` commands that would make them."""

from __future__ import annotations

from netloom.model.family import of
from netloom.model.hoststate import Device, Namespace, Neighbour, NsRoute
from netloom.model.sysctls import FORWARD
from netloom.render import values


def ip_commands(item: Namespace | Device | NsRoute | Neighbour) -> list[str]:
    """The `ip` and `sysctl` commands that would make a namespace, a device in it or a route. Raises Unwritable.

    What keepalived holds has none.
    """
    match item:
        case Namespace():
            name = values.word(item.name)
            # The settings that every namespace has are in model/sysctls.py.
            forward = f"ip netns exec {name} sysctl -w net.{FORWARD}={int(item.forward)}"
            made = [f"ip netns add {name}", f"ip -n {name} link set lo up", forward]
            if item.ipv6:
                scope = f"ip netns exec {name} sysctl -w net.ipv6.conf.all"
                made += [f"{scope}.disable_ipv6=0", f"{scope}.forwarding={int(item.forward)}"]
            return made
        case Device():
            ip = f"ip -n {values.word(item.namespace)}"
            name = values.device(item.name)
            mtu = values.number(item.mtu, 65535)
            up = " up" if item.held_by == "agent" else ""
            own = [
                values.network(a.cidr, of(a.cidr)) for a in item.addresses if a.held_by == "agent"
            ]
            return [
                f"ip link set {name} netns {item.namespace}",
                f"{ip} link set {name} address {values.mac(item.mac)} mtu {mtu}{up}",
                *(f"{ip} address add {address} dev {name}" for address in own),
            ]
        case NsRoute(held_by="keepalived"):
            return []
        case NsRoute():
            via = (
                f" via {values.address(item.gateway, of(item.destination))}" if item.gateway else ""
            )
            where = f"{values.network(item.destination, of(item.destination))}{via} dev {values.device(item.device)}"
            return [f"ip -n {values.word(item.namespace)} route add {where}"]
        case Neighbour():
            address = values.address(item.address, of(item.address))
            ip = f"ip -n {values.word(item.namespace)} neigh replace {address}"
            what = f"lladdr {values.mac(item.mac)} dev {values.device(item.device)}"
            return [f"{ip} {what} nud permanent"]
