"""Who may do what by default: the rules of Neutron 29, one line each. `policy.yaml` overrides them by name.

`ADMIN` etc. are fragments in oslo.policy's language. A rule `<action>_<resource>:<attribute>` is asked when
a request sets the attribute to something other than its default (create, update), or before the attribute
is shown (get); an attribute without a rule needs none.
"""

from __future__ import annotations

from netloom.model import QOS_RULES

ADMIN = "rule:admin_only"
SERVICE = "rule:service_api"
OWNER = "project_id:%(project_id)s"
NETWORK_OWNER = "rule:network_owner"
GROUP_OWNER = "rule:sg_owner"

MEMBER = f"({ADMIN}) or (role:member and {OWNER})"
READER = f"({ADMIN}) or (role:reader and {OWNER})"
MANAGER = f"({ADMIN}) or (role:manager and {OWNER})"
ADMIN_OR_SERVICE = f"({ADMIN}) or ({SERVICE})"
ON_OWN_NETWORK = f"{ADMIN_OR_SERVICE} or role:member and {NETWORK_OWNER}"
ON_USABLE_NETWORK = f"{ON_OWN_NETWORK} or rule:shared"
PAIRS = f"({ADMIN}) or (role:member and {NETWORK_OWNER}) or {SERVICE}"
MEMBER_OR_SERVICE = f"{MEMBER} or {SERVICE}"
SUBNET_READER = (
    f"role:reader and {OWNER} or rule:shared or rule:external_network or ({ADMIN}) or "
    f"(role:reader and {NETWORK_OWNER})"
)
SUBNET_MEMBER = f"role:member and {OWNER} or ({ADMIN}) or (role:member and {NETWORK_OWNER})"
PORT_MEMBER = f"role:member and {NETWORK_OWNER} or role:member and {OWNER}"
NETWORK_READER = f"{READER} or rule:shared or rule:external or rule:context_is_advsvc"

PARENT_MEMBER = f"({ADMIN}) or (role:member and rule:ext_parent_owner)"
PARENT_READER = f"({ADMIN}) or (role:reader and rule:ext_parent_owner)"

GENERAL = {
    "ext_parent_owner": "project_id:%(ext_parent:project_id)s",
    "admin_or_ext_parent_owner": "rule:context_is_admin or project_id:%(ext_parent:project_id)s",
    "context_is_admin": "role:admin",
    "context_is_advsvc": "role:advsvc",
    "admin_only": "rule:context_is_admin",
    "service_api": "role:service",
    "owner": OWNER,
    "admin_or_owner": "rule:context_is_admin or rule:owner",
    "default": "rule:admin_or_owner",
    "network_owner": "project_id:%(network:project_id)s",
    "admin_or_network_owner": "rule:context_is_admin or project_id:%(network:project_id)s",
    "admin_owner_or_network_owner": "rule:owner or rule:admin_or_network_owner",
    "sg_owner": "project_id:%(security_group:project_id)s",
    "admin_or_sg_owner": "rule:context_is_admin or project_id:%(security_group:project_id)s",
    "admin_owner_or_sg_owner": "rule:owner or rule:admin_or_sg_owner",
    "shared": "field:networks:shared=True",
    "external": "field:networks:router:external=True",
    "external_network": "field:subnets:router:external=True",
    "network_device": "field:port:device_owner=~^network:",
    "compute_device": "field:port:device_owner=~^compute:",
    "baremetal_device": "field:port:device_owner=~^baremetal:",
    "manila_device": "field:port:device_owner=~^manila:",
}

NETWORKS = {
    "create_network": MEMBER,
    "create_network:shared": ADMIN,
    "create_network:router:external": ADMIN,
    "create_network:is_default": ADMIN,
    "create_network:port_security_enabled": MEMBER,
    "create_network:provider:network_type": ADMIN,
    "create_network:provider:physical_network": ADMIN,
    "create_network:provider:segmentation_id": ADMIN,
    "create_network:tags": MEMBER,
    "get_network": f"{READER} or {SERVICE} or rule:shared or rule:external or rule:context_is_advsvc",
    "get_network:provider:network_type": ADMIN,
    "get_network:provider:physical_network": ADMIN,
    "get_network:provider:segmentation_id": ADMIN,
    "get_network:tags": NETWORK_READER,
    "update_network": MEMBER,
    "update_network:shared": ADMIN,
    "update_network:provider:network_type": ADMIN,
    "update_network:provider:physical_network": ADMIN,
    "update_network:provider:segmentation_id": ADMIN,
    "update_network:router:external": ADMIN,
    "update_network:is_default": ADMIN,
    "update_network:port_security_enabled": MEMBER,
    "update_network:tags": MEMBER,
    "delete_network": MEMBER,
    "delete_network:tags": MEMBER,
}

SUBNETS = {
    "create_subnet": f"({ADMIN}) or (role:member and {NETWORK_OWNER})",
    "create_subnet:tags": SUBNET_MEMBER,
    "get_subnet": f"{SUBNET_READER} or {SERVICE}",
    "get_subnet:tags": SUBNET_READER,
    "update_subnet": SUBNET_MEMBER,
    "update_subnet:tags": SUBNET_MEMBER,
    "delete_subnet": SUBNET_MEMBER,
    "delete_subnet:tags": SUBNET_MEMBER,
}

PORTS = {
    "create_port": ON_USABLE_NETWORK,
    "create_port:device_id": MEMBER_OR_SERVICE,
    "create_port:device_owner": f"not rule:network_device or {ON_OWN_NETWORK}",
    "create_port:mac_address": ON_OWN_NETWORK,
    "create_port:fixed_ips": ON_USABLE_NETWORK,
    "create_port:fixed_ips:ip_address": ON_OWN_NETWORK,
    "create_port:fixed_ips:subnet_id": ON_USABLE_NETWORK,
    "create_port:port_security_enabled": ON_OWN_NETWORK,
    "create_port:binding:host_id": ADMIN_OR_SERVICE,
    "create_port:binding:profile": SERVICE,
    "create_port:binding:vnic_type": MEMBER_OR_SERVICE,
    "create_port:allowed_address_pairs": PAIRS,
    "create_port:allowed_address_pairs:mac_address": PAIRS,
    "create_port:allowed_address_pairs:ip_address": PAIRS,
    "create_port:tags": f"{MEMBER} or rule:context_is_advsvc",
    "get_port": f"{ADMIN_OR_SERVICE} or role:reader and {NETWORK_OWNER} or role:reader and {OWNER}",
    "get_port:binding:vif_type": ADMIN_OR_SERVICE,
    "get_port:binding:vif_details": ADMIN_OR_SERVICE,
    "get_port:binding:host_id": ADMIN_OR_SERVICE,
    "get_port:binding:profile": ADMIN_OR_SERVICE,
    "get_port:tags": (
        f"rule:context_is_advsvc or ({ADMIN}) or (role:reader and {NETWORK_OWNER}) or role:reader and {OWNER}"
    ),
    "update_port": f"{ADMIN_OR_SERVICE} or role:member and {OWNER}",
    "update_port:device_id": MEMBER_OR_SERVICE,
    "update_port:device_owner": f"not rule:network_device or {ON_OWN_NETWORK}",
    "update_port:mac_address": f"{ADMIN_OR_SERVICE} or role:manager and {NETWORK_OWNER}",
    "update_port:fixed_ips": ON_OWN_NETWORK,
    "update_port:fixed_ips:ip_address": ON_OWN_NETWORK,
    "update_port:fixed_ips:subnet_id": ON_USABLE_NETWORK,
    "update_port:port_security_enabled": ON_OWN_NETWORK,
    "update_port:binding:host_id": ADMIN_OR_SERVICE,
    "update_port:binding:profile": SERVICE,
    "update_port:binding:vnic_type": f"{ADMIN_OR_SERVICE} or role:member and {OWNER}",
    "update_port:allowed_address_pairs": PAIRS,
    "update_port:allowed_address_pairs:mac_address": PAIRS,
    "update_port:allowed_address_pairs:ip_address": PAIRS,
    "update_port:tags": f"{MEMBER} or rule:context_is_advsvc",
    # An instance's port goes with the instance: its owner deletes it only through a service.
    "delete_port": (
        f"{ADMIN_OR_SERVICE} or (service_roles:service and ({PORT_MEMBER})) or (not rule:compute_device and "
        f"not rule:baremetal_device and not rule:manila_device and ({PORT_MEMBER}))"
    ),
    "delete_port:tags": (
        f"rule:context_is_advsvc or role:member and {OWNER} or ({ADMIN}) or (role:member and {NETWORK_OWNER})"
    ),
}

_GATEWAY = {
    f"{action}_router:external_gateway_info{attribute}": rule
    for action in ("create", "update")
    for attribute, rule in (
        ("", MEMBER),
        (":network_id", MEMBER),
        (":enable_snat", ADMIN),
        (":external_fixed_ips", ADMIN),
    )
}

ROUTERS = _GATEWAY | {
    "create_router": MEMBER,
    "create_router:distributed": ADMIN,
    "create_router:ha": ADMIN,
    "create_router:tags": MEMBER,
    "get_router": READER,
    "get_router:distributed": ADMIN,
    "get_router:ha": ADMIN,
    "get_router:tags": READER,
    "update_router": MEMBER,
    "update_router:distributed": ADMIN,
    "update_router:ha": ADMIN,
    "update_router:tags": MEMBER,
    "delete_router": MEMBER,
    "delete_router:tags": MEMBER,
    "add_router_interface": MEMBER,
    "remove_router_interface": MEMBER,
    "add_extraroutes": MEMBER,
    "remove_extraroutes": MEMBER,
}

FLOATING_IPS = {
    "create_floatingip": MEMBER,
    "create_floatingip:floating_ip_address": MANAGER,
    "create_floatingip:tags": MEMBER,
    "get_floatingip": READER,
    "get_floatingip:tags": READER,
    "update_floatingip": MEMBER,
    "update_floatingip:tags": MEMBER,
    "delete_floatingip": MEMBER,
    "delete_floatingip:tags": MEMBER,
    "create_floatingip_port_forwarding": PARENT_MEMBER,
    "get_floatingip_port_forwarding": PARENT_READER,
    "update_floatingip_port_forwarding": PARENT_MEMBER,
    "delete_floatingip_port_forwarding": PARENT_MEMBER,
}

SECURITY_GROUPS = {
    "create_security_group": MEMBER,
    "create_security_group:tags": MEMBER,
    "shared_security_group": "field:security_groups:shared=True",
    "get_security_group": f"{READER} or rule:shared_security_group",
    "get_security_group:tags": f"{READER} or rule:shared_security_group",
    "update_security_group": MEMBER,
    "update_security_group:tags": MEMBER,
    "delete_security_group": MEMBER,
    "delete_security_group:tags": MEMBER,
    "create_security_group_rule": f"({ADMIN}) or (role:member and {GROUP_OWNER})",
    "get_security_group_rule": f"({ADMIN}) or (role:reader and {GROUP_OWNER})",
    "delete_security_group_rule": f"({ADMIN}) or (role:member and {GROUP_OWNER})",
}

ADDRESS_GROUPS = {
    "shared_address_groups": "field:address_groups:shared=True",
    "create_address_group": MEMBER,
    "get_address_group": f"{READER} or rule:shared_address_groups",
    "update_address_group": MEMBER,
    "delete_address_group": MEMBER,
    "add_addresses": MEMBER,
    "remove_addresses": MEMBER,
}

DEFAULT_RULES = {
    "create_default_security_group_rule": ADMIN,
    "get_default_security_group_rule": "role:reader",
    "update_default_security_group_rule": ADMIN,
    "delete_default_security_group_rule": ADMIN,
}

NOT_EVERYONE = f"({ADMIN}) or (not field:rbac_policy:target_tenant=*)"

RBAC_POLICIES = {
    "create_rbac_policy": MEMBER,
    "create_rbac_policy:target_tenant": NOT_EVERYONE,
    "get_rbac_policy": READER,
    "update_rbac_policy": MEMBER,
    "update_rbac_policy:target_tenant": NOT_EVERYONE,
    "delete_rbac_policy": MEMBER,
}

PARENT_MANAGER = f"({ADMIN}) or (role:manager and rule:ext_parent_owner)"

_QOS_RULES = {
    f"{verb}_{collection}_{rule}_rule": PARENT_READER if verb == "get" else PARENT_MANAGER
    for collection in ("policy", "alias")
    for rule in (kind.TYPE for kind in QOS_RULES)
    for verb in ("create", "get", "update", "delete")
}

QOS = _QOS_RULES | {
    "shared_qos_policy": "field:policies:shared=True",
    "create_policy": MANAGER,
    "create_policy:tags": MANAGER,
    "get_policy": f"{READER} or rule:shared_qos_policy",
    "get_policy:tags": f"{READER} or rule:shared_qos_policy",
    "update_policy": MANAGER,
    "update_policy:tags": MANAGER,
    "delete_policy": MANAGER,
    "delete_policy:tags": MANAGER,
    "get_rule_type": "role:reader",
}

TRUNKS = {
    "create_trunk": MEMBER,
    "create_trunk:tags": MEMBER,
    "get_trunk": READER,
    "get_trunk:tags": READER,
    "update_trunk": MEMBER,
    "update_trunk:tags": MEMBER,
    "delete_trunk": MEMBER,
    "delete_trunk:tags": MEMBER,
    "get_subports": READER,
    "add_subports": MEMBER,
    "remove_subports": MEMBER,
}

OPERATIONS = {
    "get_agent": ADMIN,
    "update_agent": ADMIN,
    "delete_agent": ADMIN,
    "get_l3-agents": ADMIN,
    "get_l3-routers": ADMIN,
    "create_l3-router": ADMIN,
    "delete_l3-router": ADMIN,
    "get_availability_zone": "role:reader",
    "get_quota": MANAGER,
    "update_quota": ADMIN,
    "delete_quota": ADMIN,
}

RULES: dict[str, str] = (
    GENERAL
    | NETWORKS
    | SUBNETS
    | PORTS
    | ROUTERS
    | FLOATING_IPS
    | SECURITY_GROUPS
    | ADDRESS_GROUPS
    | DEFAULT_RULES
    | RBAC_POLICIES
    | QOS
    | TRUNKS
    | OPERATIONS
)
"""Name → rule; the defaults of this server."""
