"""Names that an operator expects, made from ids."""

from __future__ import annotations

from hashlib import sha256

INTEGRATION_BRIDGE = "br-int"
METADATA_ADDRESS = "169.254.169.254"
OWNER_DHCP = "network:dhcp"
OWNER_ROUTER_INTERFACE = "network:router_interface"
OWNER_ROUTER_GATEWAY = "network:router_gateway"
OWNER_FLOATING_IP = "network:floatingip"
OWNER_SUBPORT = "trunk:subport"
OWNER_HA_REPLICATED = "network:ha_router_replicated_interface"
"""Owner of the interfaces of an HA router, in the place of OWNER_ROUTER_INTERFACE."""
OWNER_HA_INTERFACE = "network:router_ha_interface"
"""Owner of the ports by which the replicas of an HA router hear one another; each is bound to the host of one replica."""
OWNER_DISTRIBUTED = "network:router_interface_distributed"
"""Owner of the interfaces of a distributed router: they are on every host that has something of its networks."""
OWNER_SNAT = "network:router_centralized_snat"
"""Owner of the ports by which a distributed router's SNAT, on a network host, is on the router's networks."""
INTERFACE_OWNERS = frozenset({OWNER_ROUTER_INTERFACE, OWNER_HA_REPLICATED, OWNER_DISTRIBUTED})
"""Owners whose ports are interfaces of a router."""
ROUTER_OWNERS = INTERFACE_OWNERS | {OWNER_ROUTER_GATEWAY, OWNER_HA_INTERFACE, OWNER_SNAT}
"""Owners whose ports are part of a router: `device_id` is the router's id."""
NAMESPACE_OWNERS = ROUTER_OWNERS | {OWNER_FLOATING_IP}
"""Owners whose ports, where they have a device, have it in a router's namespace: no instance has it."""
SERVICE_OWNERS = NAMESPACE_OWNERS | {OWNER_DHCP}
"""Owners whose ports are the cloud's own: a router's, a floating IP's, that of DHCP."""


def tap(port_id: str) -> str:
    """Device of an instance's or DHCP port."""
    return "tap" + port_id[:11]


def linux_bridge(network_id: str) -> str:
    """Bridge of a network on a host with Linux bridges."""
    return "brq" + network_id[:11]


def router_device(port_id: str, owner: str) -> str:
    """Device of a router's port.

    An interface (`qr-`), its gateway (`qg-`), the port between replicas (`ha-`), one of central SNAT (`sg-`), or that of a
    floating IP which enters at an instance's host (`fg-`).
    """
    return _PREFIXES.get(owner, "qr-") + port_id[:11]


_PREFIXES = {
    OWNER_ROUTER_GATEWAY: "qg-",
    OWNER_HA_INTERFACE: "ha-",
    OWNER_SNAT: "sg-",
    OWNER_FLOATING_IP: "fg-",
}


def router_namespace(router_id: str) -> str:
    """Namespace of a router; of a distributed one that on the hosts of its instances."""
    return "qrouter-" + router_id


def snat_namespace(router_id: str) -> str:
    """Namespace of a distributed router's central part, on a network host."""
    return "snat-" + router_id


def host_mac(host: str) -> str:
    """The MAC address that a host's frames of distributed routers have on a wire: there the router's own would be everywhere.

    40 bits of a digest behind a locally administered prefix: of a thousand hosts two are alike once in two million clouds.
    """
    digest = sha256(f"netloom {host}".encode()).digest()
    return ":".join(["f2", *(f"{byte:02x}" for byte in digest[:5])])


def dhcp_namespace(network_id: str) -> str:
    """Namespace of a network's DHCP and metadata."""
    return "qdhcp-" + network_id


_OUTER_HEADER = {4: 20, 6: 40}
"""Bytes of an IP header without options, by version."""


def tunnel_overhead(network_type: str, overlay_ip_version: int = 4) -> int:
    """Return the bytes that a network type's encapsulation takes from the MTU of the network between hosts.

    The outer IP header, the tunnel's own (with UDP for VXLAN, with a key for GRE, with 16 bytes of options for Geneve), and
    the inner Ethernet header, which counts against the outer network's MTU.
    """
    own = {"vxlan": 30, "gre": 22, "geneve": 38}.get(network_type)
    return 0 if own is None else own + _OUTER_HEADER[overlay_ip_version]
