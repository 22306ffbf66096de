"""Where Netloom answers otherwise than Neutron 29.0.0 does, each with its reason."""

from __future__ import annotations

import re
from dataclasses import dataclass

from differential.operations import Request
from differential.sides import Answer


@dataclass(frozen=True)
class Known:
    """A difference (one line of compare.differences) is expected where all that is given matches it."""

    reason: str
    difference: str
    """Regular expression, searched in the line."""
    request: str = ""
    """Regular expression, searched in the request's text."""


KNOWN: tuple[Known, ...] = (
    Known(
        "Address scopes are not there yet: neutron-lib's attributes of extensions that are not advertised are absent.",
        r"ipv[46]_address_scope: None \| absent",
    ),
    Known(
        "Service types of subnets (subnet-service-types) are not there yet and not advertised.",
        r"service_types: \[\] \| absent",
    ),
    Known(
        "Neutron shows is_default of a network that is not external only in the answer to its creation; "
        "Netloom always says it.",
        r"is_default: absent \| False",
    ),
    Known(
        "IPv6 subnets are refused for now.",
        r"status: 201 .* \| 400 .*ip_version must be 4",
    ),
    Known(
        "A value of a wrong JSON type: Neutron's validator fails and it says only that the body is invalid; "
        "Netloom says which attribute and why.",
        r"message: 'Body contains invalid data' \| \"(Invalid input for|Object) ",
    ),
    Known(
        "Neutron reads the element of a bulk body before its type is checked; Netloom says what is wrong with it.",
        r"message: 'The server could not comply.*' \| 'Body contains invalid data'",
    ),
    Known(
        "Address groups (security-groups-remote-address-group) are not there yet and not advertised.",
        r"remote_address_group_id: None \| absent",
    ),
    Known("Router flavors (l3-flavors) are not there yet and not advertised.", r"flavor_id: None \| absent"),
    Known(
        "Sharing of security groups (rbac-security-groups) is not there yet and not advertised.",
        r"security_groups?(\[\])?\.shared: False \| absent",
    ),
    Known("An internal number that Neutron lets out.", r"standard_attr_id: \d+ \| absent"),
    Known(
        "Rules that come with a group have a null description in Neutron, though the attribute is a string "
        "everywhere else; Netloom says the empty string.",
        r"security_group_rules(\[\])?\.description: None \| ''",
    ),
    Known(
        "What are extensions in Neutron (all but networks, subnets and ports) has If-Match looked at before the body.",
        r"message: 'Bad if-match request.* \| |type: 'BadRequest' \| '(HTTPBadRequest|InvalidInput)'",
        r"PUT (routers|floatingips|security-groups|security-group-rules)/.*'If-Match': 'revision_number=x'",
    ),
    Known(
        "If-Match holds for an update that changes nothing, too; in Neutron for what reaches the database.",
        r"status: 200 .* \| 412 .*RevisionNumberConstraintFailed",
        r"PUT .*'If-Match'",
    ),
    Known(
        "Floating IPs have a router_id that can be written with floating-ip-router-writable, which is not advertised.",
        r"(status: .* \| 400|message: .* \|) .*(Attribute 'router_id' not allowed|read-only attribute router_id)",
        r"floatingips.*'router_id'",
    ),
    Known(
        "Text that is no JSON: the type of Neutron's error depends on the collection, Netloom's does not.",
        r"'(MalformedRequestBody|Malformed request body: Cannot understand JSON.)' \| ",
    ),
    Known(
        "Neutron's revision of a subnet leaves out changes of DNS servers and host routes, and counts an update "
        "that changes nothing; Netloom counts changes of what the API shows, no others.",
        r"^subnets?(\[\])?\.revision_number: \d+ \| \d+",
    ),
    Known(
        "The filter comes with rbac-security-groups, which is not advertised.",
        r"(message|type): .* \| .*(\['shared'\] is invalid|HTTPBadRequest)",
        r"GET security-groups\?.*shared=",
    ),
    Known(
        "Neutron answers 403 for the tags of an object that the caller may not see, which tells that it is there; "
        "Netloom answers 404 as everywhere else.",
        r"status: 403 .*_\w+:tags is disallowed.* \| 404",
    ),
    Known(
        "No body: what are extensions in Neutron has words of its own for it, and is asked for it before it is found.",
        r"message: 'Resource body required' \| \"Unable to find '"
        r"|status: 400 .*(Resource body required|Bad body request).* \| 404 .*NotFound",
        r"(POST|PUT) (routers|floatingips|security-groups|security-group-rules)\S* (None|b''|\{\})",
    ),
    Known(
        "JSON that is no object, the same.",
        r"(message: 'Resource body required'|message: \"?'?Bad body request: Invalid format.*|type: 'BadRequest') \| "
        r"'(Body contains invalid data|HTTPBadRequest)'",
        r"(POST|PUT) (routers|floatingips|security-groups|security-group-rules)\S* b'",
    ),
    Known(
        "An update without an object, by who may not: Neutron names the rules of what the object has as well.",
        r"message: '\(rule:(\w+) and rule:\1:.* is disallowed by policy' \| 'rule:\1 is disallowed by policy'",
        r"PUT \S+ (None|b''|b'\{\}'|\{\})",
    ),
    Known(
        "Neutron shows everybody everything of a router in this answer, what is internal included.",
        r"router\.(enable_\w+|gw_port_id|ha|ha_vr_id|distributed): .* \| absent",
        r"PUT routers/\S+/(add|remove)_extraroutes",
    ),
    Known(
        "Several groups in an update of one: Neutron reads them before it refuses them.",
        r"message: '(Resources required|Body contains invalid data)' \| 'Bulk operation not supported'",
        r"PUT security-group(-rule)?s/.*security_group(_rule)?s\W+:",
    ),
    Known(
        "The reference has hosts in the zone nova, Netloom as it is started here has none.",
        r"status: 201 .* \| 404 .*AvailabilityZone nova could not be found",
        r"POST (networks|routers) .*'availability_zone_hints': \['nova'\]",
    ),
    Known(
        "A rule that makes no sense, for a group that is not there: an administrator is told of the rule in Neutron.",
        r"status: 400 .*SecurityGroup.* \| 404 .*SecurityGroupNotFound",
        r"admin: POST security-group-rules",
    ),
    Known(
        "Quotas of what is not there yet.",
        r"^quotas?(\[\])?\.(rbac_policy|subnetpool): .* \| absent",
    ),
    Known(
        "Neutron fills belongs_to_default_sg only where the rule itself is asked for, not inside its group.",
        r"security_group_rules\[\]\.belongs_to_default_sg: None \| (True|False)",
    ),
    Known(
        "The rules of nothing: Neutron's message about an empty gateway ends in an empty pair of brackets.",
        r"message: '\(rule:(\w+)_router and \(rule:\1_router:external_gateway_info and \(\)\)\) is disallowed by "
        r"policy' \| '\(rule:\1_router and rule:\1_router:external_gateway_info\) is disallowed by policy'",
    ),
    Known(
        "A reader's new rule or subnet below what is not there: refused for that, in Neutron for the role.",
        r"status: 403 .*create_(security_group_rule|subnet) is disallowed.* \| 404 .*(SecurityGroup|Network)NotFound",
        r"reader: POST",
    ),
    Known(
        "Neutron asks the policy of each of a router's attributes before an action on it and names them all in its "
        "refusal; Netloom asks and names the action's own rule.",
        r"message: .*rule:(\w+_router_interface|\w+_extraroutes) and .* \| 'rule:\1 is disallowed by policy'",
    ),
    Known(
        "Neutron takes tags of a new port and, as the oracle is set up, drops them; Netloom keeps them.",
        r"ports?(\[\])?\.tags: 0 elements \[\] \| ",
    ),
    Known(
        "Neutron makes the port of a floating IP in two steps and counts both.",
        r"ports\[\]\.revision_number: 2 \| 1",
    ),
    Known(
        "Subnet pools are not there yet.",
        r"subnetpool_id: None \| absent",
    ),
)


def explained(request: Request, theirs: Answer, difference: str) -> bool:
    """Return whether the difference is one that we know and mean."""
    if theirs.status >= 500:
        # Neutron's own failures are not to be copied; what we answer instead is looked at in tests/api.
        return True
    return any(
        re.search(known.difference, difference) and re.search(known.request, str(request)) for known in KNOWN
    )
