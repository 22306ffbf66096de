"""Who asks, and the settings that the rules read."""

from __future__ import annotations

from typing import Annotated, Literal

from msgspec import Meta, Struct, field


class Caller(Struct, frozen=True, kw_only=True):
    """The identity behind a request, as the token (or, for tests, the trusted headers) said.

    `service_roles`: those of the service that passed the request on with a token of its own (X-Service-Token).
    """

    user_id: str = ""
    user_name: str = ""
    project_id: str = ""
    project_name: str = ""
    domain_id: str = ""
    roles: frozenset[str] = frozenset()
    service_roles: frozenset[str] = frozenset()
    request_id: str = ""

    @property
    def is_admin(self) -> bool:
        """True for the role admin."""
        return "admin" in self.roles


LARGEST_VNI = 2**24 - 1
LARGEST_GRE_KEY = 2**32 - 1
VLANS = (1, 4094)

ProjectNetworkType = Literal["vxlan", "gre", "geneve", "vlan"]
"""Types that networks without provider attributes may get."""

NETWORK_QUOTAS: dict[str, int] = {
    "network": 100,
    "subnet": 100,
    "port": 500,
    "router": 10,
    "router_route": 30,
    "floatingip": 50,
    "security_group": 10,
    "security_group_rule": 100,
    "rbac_policy": 10,
    "trunk": -1,
}
"""Resource → limit per project, as Neutron has it; `router_route` counts the routes of one router."""


class NetworkSettings(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What the rules of the Networking API need to know of this cloud.

    `project_network_types`: types that a network without provider attributes gets, tried in this order.
    `vni_ranges`: first and last VNI of VXLAN and of Geneve networks, both included; `tunnel_id_ranges`: the same of GRE
    keys. `overlay_ip_version`: of the addresses between which tunnels run. `vlan_ranges`: physical network → (first, last)
    ids that tenants' VLAN networks may get. `flat_networks`: physical networks that may carry a flat network
    (`*` for any). `external_physical_network`: the one that an external network created without provider
    attributes gets, as a flat network; the next one is as a project's. MTUs in bytes: `global_physnet_mtu` of the physical networks, `path_mtu`
    of the way between tunnel ends (0: the former). `base_mac`: how MAC addresses of ports begin. `quotas`:
    limits per project that differ from Neutron's (−1 is no limit). `pagination_max_limit`: longest page of a
    list (0: no limit). `agent_down_seconds`: a host that was not heard for so long is dead; idle
    agents report three times as often, at least every 25 seconds. `l3_ha`: routers are HA routers where nobody says
    otherwise; `router_distributed`: distributed ones. `max_l3_agents_per_router`: hosts of an HA router (0: as many as there are). `l3_ha_network_type`,
    `l3_ha_network_physical_name`: what carries HA networks; empty: as any project's network.
    `allow_automatic_l3agent_failover`: ordinary routers of a dead host move to another one (Neutron's own default is no).
    """

    project_network_types: tuple[ProjectNetworkType, ...] = ("vxlan",)
    vni_ranges: tuple[tuple[int, int], ...] = ((1, 16_000_000),)
    tunnel_id_ranges: tuple[tuple[int, int], ...] = ((1, 16_000_000),)
    overlay_ip_version: Literal[4, 6] = 4
    vlan_ranges: dict[str, tuple[tuple[int, int], ...]] = field(default_factory=dict)
    flat_networks: tuple[str, ...] = ("*",)
    external_physical_network: str | None = None
    global_physnet_mtu: Annotated[int, Meta(ge=68)] = 1500
    path_mtu: Annotated[int, Meta(ge=0)] = 0
    base_mac: Annotated[
        str, Meta(pattern="^[0-9a-fA-F]([0-9a-fA-F]:[0-9a-fA-F]){5}[0-9a-fA-F]$")
    ] = "fa:16:3e:00:00:00"
    quotas: dict[str, Annotated[int, Meta(ge=-1)]] = field(default_factory=dict)
    pagination_max_limit: Annotated[int, Meta(ge=0)] = 0
    agent_down_seconds: Annotated[float, Meta(gt=5)] = 75.0
    l3_ha: bool = False
    router_distributed: bool = False
    max_l3_agents_per_router: Annotated[int, Meta(ge=0)] = 3
    l3_ha_network_type: Literal["", "vxlan", "gre", "geneve", "vlan", "flat"] = ""
    l3_ha_network_physical_name: str = ""
    allow_automatic_l3agent_failover: bool = True


class Away(Struct, frozen=True):
    """When the server was not there to hear any host, in seconds since 1970.

    `since`: the last that it heard of one before it was started; `back`: when it was started.
    """

    since: float = 0.0
    back: float = 0.0


class Context(Struct, frozen=True, kw_only=True):
    """What every rule gets beside the store: who asks, the settings, and when the server was not there."""

    caller: Caller
    settings: NetworkSettings
    away: Away = Away()
