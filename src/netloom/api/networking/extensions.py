"""The extensions that this server advertises: only those whose behaviour is there, for clients branch on them."""

from __future__ import annotations

from html import escape
from typing import Any

from neutron_lib.api.definitions import (
    aap_reject_multicast,
    address_group,
    agent,
    agent_sort_key,
    allowedaddresspairs,
    availability_zone,
    availability_zone_filter,
    dvr,
    empty_string_filtering,
    expose_port_forwarding_in_fip,
    external_net,
    extra_dhcp_opt,
    extraroute,
    extraroute_atomic,
    filter_validation,
    fip_pf_description,
    fip_pf_port_range,
    fip_port_details,
    floating_ip_port_forwarding,
    ip_substring_port_filtering,
    l3,
    l3_ext_gw_mode,
    l3_ext_ha_mode,
    l3_port_ip_change_not_allowed,
    network_availability_zone,
    network_mtu,
    network_mtu_writable,
    pagination,
    port_mac_address_regenerate,
    port_security,
    portbindings,
    project_id,
    provider_net,
    qos,
    qos_bw_limit_direction,
    qos_bw_minimum_ingress,
    qos_default,
    qos_fip,
    qos_gateway_ip,
    qos_port_network_policy,
    qos_pps_minimum_rule,
    qos_pps_minimum_rule_alias,
    qos_pps_rule,
    qos_rule_type_details,
    qos_rule_type_filter,
    qos_rules_alias,
    quota_check_limit,
    quota_check_limit_default,
    rbac_address_groups,
    rbac_security_groups,
    revisionifmatch,
    router_admin_state_down_before_update,
    router_availability_zone,
    security_groups_normalized_cidr,
    security_groups_port_filtering,
    security_groups_remote_address_group,
    security_groups_rules_belongs_to_default_sg,
    security_groups_shared_filtering,
    sorting,
    stateful_security_group,
    subnet_external_network,
    subnet_service_types,
    tag_creation,
    trunk,
    trunk_details,
)

Extension = dict[str, Any]


def _described(alias: str, name: str, description: str, updated: str) -> Extension:
    return {
        "name": name,
        "alias": alias,
        "description": description,
        "updated": updated,
        "links": [],
    }


def _defined(definition: Any) -> Extension:
    return _described(
        definition.ALIAS, definition.NAME, definition.DESCRIPTION, definition.UPDATED_TIMESTAMP
    )


DEFINED = (
    aap_reject_multicast,
    address_group,
    agent,
    agent_sort_key,
    allowedaddresspairs,
    availability_zone,
    availability_zone_filter,
    dvr,
    empty_string_filtering,
    expose_port_forwarding_in_fip,
    external_net,
    extra_dhcp_opt,
    extraroute,
    extraroute_atomic,
    filter_validation,
    fip_pf_description,
    fip_pf_port_range,
    fip_port_details,
    floating_ip_port_forwarding,
    ip_substring_port_filtering,
    l3,
    l3_ext_gw_mode,
    l3_ext_ha_mode,
    l3_port_ip_change_not_allowed,
    network_availability_zone,
    network_mtu,
    network_mtu_writable,
    pagination,
    port_mac_address_regenerate,
    port_security,
    portbindings,
    project_id,
    provider_net,
    qos,
    qos_bw_limit_direction,
    qos_bw_minimum_ingress,
    qos_default,
    qos_fip,
    qos_gateway_ip,
    qos_port_network_policy,
    qos_pps_minimum_rule,
    qos_pps_minimum_rule_alias,
    qos_pps_rule,
    qos_rule_type_details,
    qos_rule_type_filter,
    qos_rules_alias,
    quota_check_limit,
    quota_check_limit_default,
    rbac_address_groups,
    rbac_security_groups,
    revisionifmatch,
    router_admin_state_down_before_update,
    router_availability_zone,
    security_groups_normalized_cidr,
    security_groups_port_filtering,
    security_groups_remote_address_group,
    security_groups_rules_belongs_to_default_sg,
    security_groups_shared_filtering,
    sorting,
    stateful_security_group,
    subnet_external_network,
    subnet_service_types,
    tag_creation,
    trunk,
    trunk_details,
)

# These have no definition in neutron-lib; dates are those under which clients know them.
_OWN = (
    _described(
        "security-group",
        "security-group",
        "Security groups and their rules.",
        "2012-10-05T10:00:00-00:00",
    ),
    _described(
        "quotas", "Quota management support", "Quotas of a project.", "2012-07-29T10:00:00-00:00"
    ),
    _described(
        "quota_details",
        "Quota details management support",
        "What a project uses of its quotas.",
        "2017-02-10T10:00:00-00:00",
    ),
    _described(
        "l3_agent_scheduler",
        "L3 Agent Scheduler",
        "Schedule routers among l3 agents",
        "2013-02-07T10:00:00-00:00",
    ),
    _described(
        "security-groups-default-rules",
        "Default rules for security groups",
        "The rules that new security groups begin with.",
        "2022-12-19T10:00:00-00:00",
    ),
    _described(
        "rbac-policies",
        "RBAC Policies",
        "Networks, QoS policies and groups shared with one project or with all.",
        "2015-06-17T12:15:12-00:00",
    ),
    _described(
        "standard-attr-description",
        "standard-attr-description",
        "A description on every object.",
        "2016-02-10T10:00:00-00:00",
    ),
    _described(
        "standard-attr-revisions",
        "Resource revision numbers",
        "A revision number on every object.",
        "2016-04-11T10:00:00-00:00",
    ),
    _described(
        "standard-attr-tag",
        "Tag support for resources with standard attribute: port, subnet, network, router, floatingip, "
        "security_group",
        "Tags on objects.",
        "2017-01-01T00:00:00-00:00",
    ),
    _described(
        "standard-attr-timestamp",
        "Resource timestamps",
        "When an object was made and last changed.",
        "2016-09-12T10:00:00-00:00",
    ),
)

# Core resources are extensions of their own name in some clients' eyes, but Neutron does not list them.
_ALL: dict[str, Extension] = {
    extension["alias"]: extension
    for extension in sorted(
        (*map(_defined, DEFINED), *_OWN), key=lambda extension: extension["alias"]
    )
}


def listing() -> list[Extension]:
    """Return all that is advertised."""
    return list(_ALL.values())


def find(alias: str) -> Extension | None:
    """Return one extension, or None where it is not advertised."""
    return _ALL.get(alias)


def missing(reason: str) -> str:
    """Return the page that Neutron answers with here, which is no JSON."""
    return (
        "<html>\n <head>\n  <title>404 Not Found</title>\n </head>\n <body>\n  <h1>404 Not Found</h1>\n"
        f"  The resource could not be found.<br /><br />\n{escape(reason)}\n\n\n </body>\n</html>"
    )
