"""The nouns of the Networking API v2.0.

Source of names and meanings: the OpenStack Networking API reference. Attributes that the API
computes per viewer or from other objects (`shared`, `subnets` of a network, `tenant_id`, `status`)
are not stored here.
"""

from __future__ import annotations

from typing import Any, ClassVar

from msgspec import UNSET, Struct, UnsetType, field

from netloom.model.base import Resource
from netloom.model.names import router_namespace, snat_namespace
from netloom.model.port_ranges import Span, span_of


class Network(Resource, frozen=True, kw_only=True):
    """A layer 2 segment.

    `key` is the network's number in tunnels' place: given by the server, unique over all networks of
    any type, at most 24 bits; hosts carry it in a register, so no host needs a VLAN of its own for it.
    """

    KIND: ClassVar[str] = "network"
    FIRST_STATUS: ClassVar[str] = "ACTIVE"
    GRANTED_BY: ClassVar[str] = "id"
    INTERNAL: ClassVar[frozenset[str]] = frozenset({"key"})

    key: int = 0
    admin_state_up: bool = True
    mtu: int = 1450
    network_type: str = field(name="provider:network_type", default="vxlan")
    physical_network: str | None = field(name="provider:physical_network", default=None)
    segmentation_id: int | None = field(name="provider:segmentation_id", default=None)
    external: bool = field(name="router:external", default=False)
    is_default: bool = False
    port_security_enabled: bool = True
    availability_zone_hints: tuple[str, ...] = ()
    qos_policy_id: str | None = None


class AllocationPool(Struct, frozen=True):
    """Addresses `start` to `end`, both included, from which ports get theirs."""

    start: str
    end: str


class Route(Struct, frozen=True):
    """`destination` (CIDR) is reached through `nexthop` (address)."""

    destination: str
    nexthop: str


class Subnet(Resource, frozen=True, kw_only=True):
    """A range of addresses on a network."""

    KIND: ClassVar[str] = "subnet"
    GRANTED_BY: ClassVar[str] = "network_id"

    network_id: str
    cidr: str
    ip_version: int = 4
    gateway_ip: str | None = None
    enable_dhcp: bool = True
    allocation_pools: tuple[AllocationPool, ...] = ()
    dns_nameservers: tuple[str, ...] = ()
    host_routes: tuple[Route, ...] = ()
    ipv6_ra_mode: str | None = None
    ipv6_address_mode: str | None = None
    subnetpool_id: str | None = None
    service_types: tuple[str, ...] = ()


class FixedIP(Struct, frozen=True):
    """An address of a port and the subnet it was allocated from."""

    subnet_id: str
    ip_address: str


class AddressPair(Struct, frozen=True):
    """A further source (address or CIDR, and MAC) that a port may use."""

    ip_address: str
    mac_address: str


class DhcpOption(Struct, frozen=True):
    """One extra DHCP option of a port (`extra_dhcp_opts`)."""

    opt_name: str
    opt_value: str | None
    ip_version: int = 4


class TrunkDetail(Struct, frozen=True):
    """A subport in the details of its trunk's parent."""

    segmentation_id: int
    segmentation_type: str
    port_id: str
    mac_address: str


class TrunkDetails(Struct, frozen=True):
    """What the parent of a trunk shows of it."""

    trunk_id: str
    sub_ports: tuple[TrunkDetail, ...] = ()


class Port(Resource, frozen=True, kw_only=True):
    """A connection to a network.

    `host` (binding:host_id) is the chassis that realises it; empty when unbound. Ports of DHCP
    (`device_owner` network:dhcp) are realised on every host that has a port of the network.
    `key` is the port's number, given by the server, unique over all ports: hosts carry it in registers. 0: it has none yet.
    `trunk_id`: the trunk that it is the parent or a subport of. A subport has no device: its frames are those of the device
    of the port `trunk_parent` with the tag `trunk_vlan`. `entry`: of a floating IP's port, the host of its
    instance where it enters and leaves; empty where it does so by its router's gateway. `trunk_details`: of a parent, as the API shows it; others have none.
    """

    KIND: ClassVar[str] = "port"
    FIRST_STATUS: ClassVar[str] = "DOWN"
    INTERNAL: ClassVar[frozenset[str]] = frozenset(
        {"key", "trunk_id", "trunk_parent", "trunk_vlan", "entry"}
    )

    network_id: str
    mac_address: str
    key: int = 0
    admin_state_up: bool = True
    fixed_ips: tuple[FixedIP, ...] = ()
    device_id: str = ""
    device_owner: str = ""
    security_groups: tuple[str, ...] = ()
    port_security_enabled: bool = True
    allowed_address_pairs: tuple[AddressPair, ...] = ()
    extra_dhcp_opts: tuple[DhcpOption, ...] = ()
    qos_policy_id: str | None = None
    host: str = field(name="binding:host_id", default="")
    vnic_type: str = field(name="binding:vnic_type", default="normal")
    vif_type: str = field(name="binding:vif_type", default="unbound")
    vif_details: dict[str, Any] = field(name="binding:vif_details", default_factory=dict)
    profile: dict[str, Any] = field(name="binding:profile", default_factory=dict)
    trunk_id: str = ""
    trunk_parent: str = ""
    trunk_vlan: int = 0
    entry: str = ""
    trunk_details: TrunkDetails | UnsetType = UNSET


class SubPort(Struct, frozen=True):
    """A port that is carried by a trunk: frames with the tag `segmentation_id` on the parent's device are its."""

    port_id: str
    segmentation_type: str
    segmentation_id: int


class Trunk(Resource, frozen=True, kw_only=True):
    """One instance's card (the parent port) that carries further ports, each with a VLAN tag of its own."""

    KIND: ClassVar[str] = "trunk"
    FIRST_STATUS: ClassVar[str] = "DOWN"

    port_id: str
    admin_state_up: bool = True
    sub_ports: tuple[SubPort, ...] = ()


class Gateway(Struct, frozen=True):
    """A router's way out (`external_gateway_info`). `qos_policy_id`: for what its own addresses send and get."""

    network_id: str
    enable_snat: bool = True
    external_fixed_ips: tuple[FixedIP, ...] = ()
    qos_policy_id: str | UnsetType = UNSET


class Replica(Struct, frozen=True):
    """One host that carries a router. Of several the one with the highest `priority` should be active, as in VRRP."""

    host: str
    priority: int = 50


class Router(Resource, frozen=True, kw_only=True):
    """A layer 3 router. Its interfaces are ports whose `device_id` is the router's id.

    `replicas` are the network hosts that carry it, chosen by the server, by falling priority (`model/placement.py` reads
    them); none while it has no network, or while no host fits. `gw_port_id` is its gateway port. `vrid`: number of an HA
    router (1 to 254) in its project's HA network; 0: it is no HA router, or all numbers are taken.
    `held`: an operator took it from its last host; it is placed again when he gives it one, or when it is changed.
    """

    KIND: ClassVar[str] = "router"
    FIRST_STATUS: ClassVar[str] = "ACTIVE"
    INTERNAL: ClassVar[frozenset[str]] = frozenset({"replicas", "gw_port_id", "vrid", "held"})

    admin_state_up: bool = True
    external_gateway_info: Gateway | None = None
    routes: tuple[Route, ...] = ()
    ha: bool = False
    distributed: bool = False
    availability_zone_hints: tuple[str, ...] = ()
    flavor_id: str | None = None
    replicas: tuple[Replica, ...] = ()
    gw_port_id: str | None = None
    vrid: int = 0
    held: bool = False

    @property
    def namespace(self) -> str:
        """Its namespace on the hosts of `replicas`: of a distributed router only what is central is there."""
        return snat_namespace(self.id) if self.distributed else router_namespace(self.id)


class FloatingIP(Resource, frozen=True, kw_only=True):
    """An address of an external network that stands for one fixed address of a port.

    `floating_port_id` is the port on the external network that holds the address
    (`device_owner` network:floatingip).
    """

    KIND: ClassVar[str] = "floatingip"
    FIRST_STATUS: ClassVar[str] = "DOWN"
    INTERNAL: ClassVar[frozenset[str]] = frozenset({"floating_port_id"})

    floating_network_id: str
    floating_ip_address: str
    floating_port_id: str
    port_id: str | None = None
    fixed_ip_address: str | None = None
    router_id: str | None = None
    qos_policy_id: str | None = None


class PortForwarding(Resource, frozen=True, kw_only=True):
    """Ports of a floating IP that lead to ports of one fixed address, for one protocol.

    A range is written `FIRST:LAST`. `external_port_range` and `internal_port_range` have the same number of ports, or
    the second has one. `external_port` and `internal_port` say it again where the range is one port, else they are null.
    `router_id`: as the floating IP's.
    """

    KIND: ClassVar[str] = "port_forwarding"
    INTERNAL: ClassVar[frozenset[str]] = frozenset({"floatingip_id", "router_id"})

    floatingip_id: str
    router_id: str
    protocol: str
    internal_port_id: str
    internal_ip_address: str
    internal_port: int | None = None
    internal_port_range: str
    external_port: int | None = None
    external_port_range: str

    @property
    def external(self) -> Span:
        """The ports of the floating IP."""
        return span_of(self.external_port_range)

    @property
    def internal(self) -> Span:
        """The ports that they lead to."""
        return span_of(self.internal_port_range)


class SecurityGroup(Resource, frozen=True, kw_only=True):
    """A named set of rules that ports refer to."""

    KIND: ClassVar[str] = "security_group"
    GRANTED_BY: ClassVar[str] = "id"

    stateful: bool = True
    is_default: bool = False


class AddressGroup(Resource, frozen=True, kw_only=True):
    """A named list of addresses (CIDRs without host bits) that rules of security groups name as their other end."""

    KIND: ClassVar[str] = "address_group"
    GRANTED_BY: ClassVar[str] = "id"

    addresses: tuple[str, ...] = ()


class SecurityGroupRule(Resource, frozen=True, kw_only=True):
    """What a security group lets in or out. Immutable."""

    KIND: ClassVar[str] = "security_group_rule"

    security_group_id: str
    direction: str
    ethertype: str = "IPv4"
    protocol: str | None = None
    port_range_min: int | None = None
    port_range_max: int | None = None
    remote_ip_prefix: str | None = None
    normalized_cidr: str | None = None
    remote_group_id: str | None = None
    remote_address_group_id: str | None = None
    belongs_to_default_sg: bool = False


class DefaultSecurityGroupRule(Resource, frozen=True, kw_only=True):
    """A rule that new groups begin with: `default` ones, all others, or both. The remote group `PARENT` is the new group."""

    KIND: ClassVar[str] = "default_security_group_rule"
    EVERYBODYS: ClassVar[bool] = True

    direction: str
    ethertype: str = "IPv4"
    protocol: str | None = None
    port_range_min: int | None = None
    port_range_max: int | None = None
    remote_ip_prefix: str | None = None
    remote_group_id: str | None = None
    remote_address_group_id: str | None = None
    used_in_default_sg: bool = False
    used_in_non_default_sg: bool = False


class RbacPolicy(Resource, frozen=True, kw_only=True):
    """`target_tenant` (a project's id, or `*` for every project) may use the object `object_id` as `action` says."""

    KIND: ClassVar[str] = "rbac_policy"

    object_type: str
    object_id: str
    action: str
    target_tenant: str


class Quota(Resource, frozen=True, kw_only=True):
    """Limits that differ from the defaults for one project; `id` is the project's; −1 is no limit."""

    KIND: ClassVar[str] = "quota"

    limits: dict[str, int] = field(default_factory=dict)
