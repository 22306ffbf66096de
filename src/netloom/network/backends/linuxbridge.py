"""Linux bridges: a bridge for each network, VXLAN devices of the kernel, and nftables on the bridges."""

from netloom.network.backends.base import DCCP, SCTP, TCP, UDP, UDPLITE, Backend

LINUXBRIDGE = Backend(
    name="linuxbridge",
    title="Linux bridges",
    agent_type="Linux bridge agent",
    binary="neutron-linuxbridge-agent",
    driver="linuxbridge",
    vif_type="bridge",
    vif_details={"port_filter": True},
    told={},
    network_types=frozenset({"flat", "vlan", "vxlan"}),
    maps="interface_mappings",
    needs={"vlan": "vlan_devices"},
    port_protocols=frozenset({TCP, UDP, DCCP, SCTP, UDPLITE}),
)
