"""What there is to say of a backend."""

from __future__ import annotations

from typing import Literal

from msgspec import Struct

from netloom.model.qos import QOS_RULES

ALL_QOS_RULES = frozenset(kind.TYPE for kind in QOS_RULES)

TCP, UDP, DCCP, SCTP, UDPLITE = 6, 17, 33, 132, 136


class Backend(Struct, frozen=True, kw_only=True):
    """One way to carry networks on a host, as rules and the API's clients see it.

    `name`: as `HostFacts.backend` gives it; `title`: for people. `agent_type`, `binary`: its layer 2 agent in the API's
    list. `driver`: as `bound_drivers` names it. `vif_type`, `vif_details`: what Nova must know to plug a port. `told`:
    capabilities of a host that clients hear of, and what they are where the host does not say. `network_types`,
    `vnic_types`, `port_protocols` (IP protocols whose ports it can match), `distributed` (routers on the hosts of their
    instances): what it can carry. `needs`: network type → capability that a host must not report as `no` for it.
    `maps`: what its agent says that physical networks are mapped to. `qos_rules`: types of rules of QoS policies that it
    carries out, or that are for whoever places instances.
    """

    name: str
    title: str
    agent_type: str
    binary: str
    driver: str
    vif_type: str
    vif_details: dict[str, bool | str]
    told: dict[str, str]
    network_types: frozenset[str]
    needs: dict[str, str] = {}
    maps: Literal["bridge_mappings", "interface_mappings"] = "bridge_mappings"
    vnic_types: frozenset[str] = frozenset({"normal"})
    port_protocols: frozenset[int]
    distributed: bool = False
    qos_rules: frozenset[str] = frozenset()
