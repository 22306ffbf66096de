"""No switch at all: a simulated host, which remembers what it would have applied."""

from netloom.network.backends.base import ALL_QOS_RULES, DCCP, SCTP, TCP, UDP, UDPLITE, Backend

NONE = Backend(
    name="none",
    title="no switch",
    agent_type="Simulated agent",
    binary="netloom-agent",
    driver="none",
    vif_type="other",
    vif_details={"port_filter": False},
    told={},
    network_types=frozenset({"flat", "vlan", "vxlan", "gre", "geneve"}),
    port_protocols=frozenset({TCP, UDP, DCCP, SCTP, UDPLITE}),
    qos_rules=ALL_QOS_RULES,
)
