"""Open vSwitch: all in flows of br-int."""

from netloom.network.backends.base import ALL_QOS_RULES, SCTP, TCP, UDP, Backend

OVS = Backend(
    name="ovs",
    title="Open vSwitch",
    agent_type="Open vSwitch agent",
    binary="neutron-openvswitch-agent",
    driver="openvswitch",
    vif_type="ovs",
    vif_details={
        # Security groups are flows in the integration bridge: no bridge between instance and switch.
        "port_filter": True,
        "ovs_hybrid_plug": False,
        "ovs_create_tap": True,
    },
    told={"datapath_type": "system"},
    network_types=frozenset({"flat", "vlan", "vxlan", "gre", "geneve"}),
    port_protocols=frozenset({TCP, UDP, SCTP}),
    distributed=True,
    qos_rules=ALL_QOS_RULES,
)
