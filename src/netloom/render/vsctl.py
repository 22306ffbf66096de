"""Ports of bridges as the `ovs-vsctl` commands that would make them."""

from __future__ import annotations

from netloom.model.hoststate import Interface


def interface_command(item: Interface) -> str:
    """The `ovs-vsctl` command that would plug an interface; a comment for those that others plug."""
    if item.expected:
        return f"# {item.bridge}: {item.name} is plugged by whoever runs the instance"
    kind = (
        "" if item.type in ("system", "veth") else f" -- set interface {item.name} type={item.type}"
    )
    options = "".join(f" options:{key}={value}" for key, value in sorted(item.options.items()))
    return f"ovs-vsctl add-port {item.bridge} {item.name}{kind}{options}"
