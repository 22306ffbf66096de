"""Who asks, and the settings that the rules read."""

from __future__ import annotations

from msgspec import Struct, field


class Caller(Struct, frozen=True, kw_only=True):
    """The identity behind a request, as the token (or, for tests, the trusted headers) said."""

    user_id: str = ""
    user_name: str = ""
    project_id: str = ""
    project_name: str = ""
    domain_id: str = ""
    roles: frozenset[str] = frozenset()
    request_id: str = ""

    @property
    def is_admin(self) -> bool:
        """True for the role admin."""
        return "admin" in self.roles


class NetworkSettings(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What the rules of the Networking API need to know of this cloud.

    `vni_ranges`: first and last VNI, both included. `vlan_ranges`: physical network → (first, last) ids
    that tenants' VLAN networks may get. `flat_networks`: physical networks that may carry a flat network
    (`*` for any). `external_physical_network`: the one that an external network created without provider
    attributes gets, as a flat network. MTUs in bytes.
    """

    project_network_types: tuple[str, ...] = ("vxlan",)
    vni_ranges: tuple[tuple[int, int], ...] = ((1, 16_000_000),)
    vlan_ranges: dict[str, tuple[tuple[int, int], ...]] = field(default_factory=dict)
    flat_networks: tuple[str, ...] = ("*",)
    external_physical_network: str | None = None
    global_physnet_mtu: int = 1500
    path_mtu: int = 0
    dns_domain: str = "openstacklocal"
    base_mac: str = "fa:16:3e:00:00:00"
    quotas: dict[str, int] = field(default_factory=dict)
    pagination_max_limit: int = 0
    agent_down_seconds: float = 75.0


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
