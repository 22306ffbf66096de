"""Where Netloom answers otherwise than Neutron 29.0.0 does, each with its reason."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace

from tests.differential.operations import Request
from tests.differential.sides import Answer


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
        "There is no Placement that would be asked for what a port requests (port-resource-request is not advertised).",
        r"resource_request: .* \| absent",
    ),
    Known(
        "Service types of a subnet taken away by null: Neutron fails.",
        r"status: 500 .* \| (200|201)",
        r"'service_types': None",
    ),
    Known(
        "A gateway's address in a new subnet that is not for gateways: Neutron fails after it has made the subnet.",
        r"status: 400 .*included invalid subnet.* \| 201",
        r"POST subnets .*'service_types'",
    ),
    Known(
        "Neutron shows is_default of a network that is not external only in the answer to its creation; "
        "Netloom always says it.",
        r"is_default: absent \| False",
    ),
    Known(
        "A network that is not external cannot be the default one: Neutron drops the wish too, but its answer to the "
        "creation repeats it.",
        r"is_default: True \| False",
        r"POST networks .*'is_default'",
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
        "Router flavors (l3-flavors) are not there yet and not advertised.",
        r"flavor_id: None \| absent",
    ),
    Known(
        "The body of an action on addresses has no list of texts: Neutron fails over it.",
        r"status: 500 .* \| 400 .*(AddrFormatError|addresses must be a list|valid for|not a valid)",
        r"PUT address-groups/\S+/(add|remove)_addresses",
    ),
    Known(
        "Fields of an address group: Neutron adds the owner's older name to those that were asked for, and forgets who it "
        "is shared with.",
        r"tenant_id: '\w+' \| absent|address_groups: \d+ elements|status: 404 .* \| 403 ",
        r"(GET|PUT|DELETE) address-groups",
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
        r"PUT (routers|floatingips|security-groups|security-group-rules)/.*'If-Match': ",
    ),
    Known(
        "If-Match holds for an update that changes nothing, too; in Neutron for what reaches the database.",
        r"status: 200 .* \| 412 .*RevisionNumberConstraintFailed",
        r"PUT .*'If-Match'",
    ),
    Known(
        "At another revision, and wrong besides: which is said first.",
        r"status: 4\d\d .* \| 412 .*RevisionNumberConstraintFailed",
        r"(PUT|DELETE) .*'If-Match'",
    ),
    Known(
        "Floating IPs have a router_id that can be written with floating-ip-router-writable, which is not advertised.",
        r"(status: .* \| 400|message: .* \|) .*(Attribute 'router_id' not allowed|read-only attribute router_id)",
        r"floatingips.*'router_id'",
    ),
    Known(
        "JSON that is no object: the type of Neutron's error depends on the collection, Netloom's does not.",
        r"(message: 'Bad body request: Invalid format.*|type: 'BadRequest') \| '(Body contains|HTTPBadRequest)",
        r"(POST|PUT) \S+ b'",
    ),
    Known(
        "Text that is no JSON: the type of Neutron's error depends on the collection, Netloom's does not.",
        r"'(MalformedRequestBody|Malformed request body: Cannot understand JSON.)' \| ",
    ),
    Known(
        "A text with the character NUL is refused: what such texts are given to ends them there.",
        r" \| .*must not contain the character NUL",
    ),
    Known(
        "Lists and objects are nested 64 deep at most, which is looked at before anything else.",
        r" \| .*may be nested 64 deep",
    ),
    Known(
        "The filter comes with rbac-security-groups, which is not advertised.",
        r"(message|type): .* \| .*('shared'\] is invalid|HTTPBadRequest)",
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
        r"PUT \S+ (None|b''|b'\{\}'|b'\{\"foo\": \{\}\}'|\{\})",
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
        "Neutron's policy hides the tags of networks and subnets from the role service, and shows it those of the rest.",
        r"^(network|subnet)s?(\[\])?\.tags: absent \| ",
        r"service: GET (network|subnet)s",
    ),
    Known(
        "The quota of routes is one router's; Neutron does not count them in a project's details.",
        r"quota\.router_route\.used: 0 \| \d+",
        r"GET quotas/\w+/details",
    ),
    Known(
        "Agents cannot be created; Netloom says so before it looks at the body.",
        r"(message|type): .* \| '(Bad agents request: Agent creation|BadRequest)",
        r"POST agents",
    ),
    Known(
        "A page of a default group's rules: which come first hangs on their random ids.",
        r"security_group_rules\[\]\.(ethertype|direction|remote_group_id): ",
        r"GET security-group(-rule)?s\?.*limit=\d",
    ),
    Known(
        "Free floating IPs go with their network, whosever they are; Neutron does not find another project's.",
        r"status: 404 .*FloatingIPNotFound.* \| (204|409 .*NetworkInUse)",
        r"DELETE networks/",
    ),
    Known(
        "Over quota, and below a network that is not there: which is said first.",
        r"status: 409 .*OverQuota.* \| 404 .*NetworkNotFound",
        r"POST (ports|subnets|floatingips)",
    ),
    Known(
        "Only networks, subnets and ports look at Accept in Neutron; Netloom answers nobody in what it cannot read.",
        r"status: [24]\d\d .* \| 406 .*HTTPNotAcceptable",
        r"'Accept': '(application/xml|text/(html|plain))'",
    ),
    Known(
        "Quotas of what is not there yet.",
        r"^quotas?(\[\])?\.subnetpool: .* \| absent",
    ),
    Known(
        "The same, set: refused.",
        r"(status|message|type): .* \| .*(Unrecognized attribute\(s\) 'subnetpool|HTTPBadRequest)",
        r"PUT quotas/.*'subnetpool'",
    ),
    Known(
        "Neutron's answer to new tags is the request's body, whatever else is in it.",
        r"^\w+: .* \| absent",
        r"(POST|PUT) \S+/tags ",
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
        r"(reader|service|manager): POST",
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
        "Neutron does not look at the routes that it shall add to a router's or take away: it stores host bits, takes "
        "away what is no route, and says AddrFormatError. Netloom says what is wrong.",
        r"status: 200 .* \| 400 .*Invalid input for routes",
        r"PUT routers/\S+/(add|remove)_extraroutes",
    ),
    Known(
        "The same.",
        r"(type: '(AddrFormatError|InvalidRoutes)' \| |message: .* \| .*Invalid input for routes)",
        r"PUT routers/\S+/add_extraroutes",
    ),
    Known(
        "An update's body is looked at before its Accept header in Neutron, after it in Netloom.",
        r"status: 40\d .* \| 406 ",
        r"PUT .*'Accept'",
    ),
    Known(
        "Neutron takes any method but GET and DELETE of a project's quotas for PUT, and any of quotas/default for GET.",
        r"status: (200|40\d) .* \| 405 ",
        r"quotas/",
    ),
    Known(
        "A body without the object: some collections of Neutron say it in other words.",
        r"message: 'Resource body required' \| \"Unable to find",
        r"(POST|PUT) \S+ b'",
    ),
    Known(
        "Tags of an external network that is not one's own, and of its subnets: Neutron's rules let them be read, but the "
        "network is not known as external where they are asked.",
        r"status: 403 .*rule:get_(network|subnet):tags is disallowed.* \| (200|204|404 .*TagNotFound)",
        r"GET (networks|subnets)/\S+/tags",
    ),
    Known(
        "An update of several at once, and of none: which is said.",
        r"message: 'Resources required' \| 'Bulk operation not supported'",
        r"PUT \S+ b'",
    ),
    Known(
        "A list's limit and its sorting both wrong: which is said first.",
        r"(message|type): ['\"](Bad limit|BadRequest).* \| .*(sort|HTTPBadRequest)",
        r"GET \S*(limit=\S*sort_|sort_\S*limit=)",
    ),
    Known(
        "A body without the object, for a floating IP that is not there: which is said first.",
        r"status: 400 .*Unable to find.* \| 404 .*NotFound",
        r"PUT floatingips/\S+ b'",
    ),
    Known(
        "Neutron's pages lose objects: those without a value for the sort key come after no marker.",
        r"^(cuts|\w+): ",
        r"GET \S+limit=\d+\S*sort_key=(gateway_ip|protocol|port_range_min|remote_ip_prefix|port_id|router_id)",
    ),
    Known(
        "Schedulers of agents (dhcp_agent_scheduler) are not there yet and not advertised.",
        r"status: (403|200) .* \| 404 .*HTTPNotFound",
        r"GET networks/\S+/dhcp-agents",
    ),
    Known(
        "A manager sees the quotas of every project in Neutron, though its rule says of its own; Netloom keeps to the rule.",
        r"status: 200 .*quota.* \| 403 .*rule:get_quota is disallowed",
        r"manager: GET quotas",
    ),
    Known(
        "Neutron looks at the first object of a list to say which attributes a caller does not see of all.",
        r"^(networks|subnets)\[\]\.tags: .* \| absent",
        r"service: GET ",
    ),
    Known(
        "Another project's rule: Neutron's not-found tells that policy hides it, Netloom's is that of any unknown rule.",
        r"(message: 'The resource could not be found.'|type: 'HTTPNotFound') \| '(Security group rule|SecurityGroupRuleNotF)",
        r"GET security-group-rules/",
    ),
    Known(
        "A body that is no object, for a router that is not there: which is said first.",
        r"status: 404 .*NotFound.* \| 400 .*Body contains invalid data",
        r"PUT routers/\S+/",
    ),
    Known(
        "Neutron takes these filters and does not filter by them; Netloom does.",
        r"^(networks|security_group_rules): \d+ elements",
        r"GET \S+[?&](is_default|belongs_to_default_sg|normalized_cidr)=",
    ),
    Known(
        "Neutron says that rules can be sorted by this, and then that they cannot.",
        r"status: 400 .*invalid attribute for sort key.* \| 200",
        r"sort_key=(normalized_cidr|belongs_to_default_sg)",
    ),
    Known(
        "The null description again, of rules that come with a group.",
        r"^security_group_rules: \d+ elements",
        r"GET security-group-rules\S*[?&]description=(&|$| )",
    ),
    Known(
        "Revision numbers are counted otherwise (compare.py, COUNTED).",
        r"^\w+: \d+ elements",
        r"GET \S+[?&]revision_number=",
    ),
    Known(
        "Shared or not shared is every network: Neutron's answer is those that are.",
        r"^(networks|subnets): \d+ elements",
        r"GET \S*shared=\S*&shared=",
    ),
    Known(
        "What the root of the API lists besides: subnet pools.",
        r"resources: .*'name': 'subnetpool'",
        r"GET  None",
    ),
    Known(
        "The same as for ports: what is wrong with a subnet itself, and a network that is not there.",
        r"status: 400 .* \| 404 .*NetworkNotFound",
        r"POST subnets",
    ),
    Known(
        "A marker that nobody has: Neutron begins anew for subnets, floating IPs, groups and rules (docs/behaviours.md, 28).",
        r"status: 200 .* \| 404 .*NotFound",
        r"GET \S+[?&]marker=",
    ),
    Known(
        "Neutron takes methods that it does not know for GET, where it looks at them at all.",
        r"status: (200|40\d) .* \| 40[456] ",
        r"\w+: (OPTIONS|TRACE|HEAD) |\w+: (PATCH|POST) \S+/",
    ),
    Known(
        "Extensions that have no definition in neutron-lib are described in words of our own, and fewer are advertised.",
        r"^extension\.(description|name): |^extensions: \d+ elements",
        r"GET extensions/",
    ),
    Known(
        "An alias and a slash: Neutron has another page for it.",
        r"^: .*Extension with alias",
        r"GET extensions/",
    ),
    Known(
        "Neutron reads a tag in a path as latin-1, whatever it is written in: a longer one, and other letters.",
        r"status: 400 .*\\u00.* \| (404 .*TagNotFound|20\d)|message: .*Tag .*could not be found",
        r"/tags/\S*%[89A-F]",
    ),
    Known(
        "If-Match and something else wrong with the request: which is said first.",
        r"status: 404 .* \| 400 .*Bad if-match",
        r"'If-Match'",
    ),
    Known(
        "Neutron's quotas are written with two names of a project at once.",
        r"message: .*Unrecognized attribute\(s\) '.*(tenant_id|project_id).* \| ",
        r"PUT quotas/",
    ),
    Known(
        "The path of a quota, read as latin-1.",
        r"message: 'Quota for project \S+ could not be found",
        r"quotas/%",
    ),
    Known(
        "Which objects come first and last in a list that nobody sorted hangs on their random ids.",
        r"^\w+_links\[\]\.href: .*marker=",
        r"GET \S+limit=(?!.*sort_key)",
    ),
    Known(
        "Attributes of extensions that are not there are unknown; Neutron says what else is wrong with them.",
        r"(message|type): .* \| (.*Unrecognized attribute\(s\) '|'HTTPBadRequest)",
        r"'(ipv[46]_address_scope|segments|use_default_subnetpool|prefixlen|flavor_id)':|"
        r"networks.*'ha':",
    ),
    Known(
        "The DHCP ports that the oracle has not (without_dhcp) are counted.",
        r"quota\.port\.used: ",
        r"GET quotas/\S+/details",
    ),
    Known(
        "Formats are no part of a path here: what ends in .xml is an id like any other.",
        r"(message|type): '(The resource could not be found.|HTTPNotFound)' \| ",
        r"\w+: \w+ \S+\.xml ",
    ),
    Known(
        "The same of a DELETE with a body: Neutron looks at the body before it finds no such id.",
        r"status: 400 .*Request body is not supported in DELETE.* \| 404 ",
        r"DELETE \S+\.xml ",
    ),
    Known(
        "Neutron names the Python method that refused to end a policy of a group, around the reason.",
        r"message: 'RBAC policy on object .*Details: Callback .* \| 'RBAC policy on object .*Details: project_id=",
        r"(DELETE|PUT) rbac-policies/",
    ),
    Known(
        "A slash behind the id of a router that is not found: Neutron's error lacks its envelope there.",
        r"^(NeutronError: absent \| |(detail|message|type): .* \| absent)",
        r"GET routers/[^ ]+/ ",
    ),
    Known(
        "PUT of a collection with a slash at its end: Neutron looks at the body before it finds no id.",
        r"status: 400 .*HTTPBadRequest.* \| 404 .*NotFound",
        r"PUT [\w-]+(\.json)?/ ",
    ),
    Known(
        "One MAC address twice in one bulk create: Neutron tries it again for two minutes and then lets out "
        "its database's error.",
        r"'NeutronDbObjectDuplicateEntry' \| 'MacAddressInUse'|duplicate Port.* \| .*mac address .* is in use",
        r"POST ports .*'mac_address'",
    ),
    Known(
        "Neutron's message about a MAC address that cannot change names a function of Python's in the port's place.",
        r"message: .*built-in function id.* \| .*mac address update is not supported",
        r"PUT ports/",
    ),
    Known(
        "A read is not guarded by If-Match; Neutron looks at what it says all the same.",
        r"status: 400 .*Bad if-match.* \| (200|404|405) ",
        r"(GET|PATCH|POST|HEAD|OPTIONS|TRACE) .*'If-Match'",
    ),
    Known(
        "The type of networks that is not there (local): Neutron looks at the rest of what is said of them.",
        r"(status: 201 .*|message: 'Invalid input for operation: .*) \| .*network_type value 'local' not supported",
        r"(POST|PUT) networks",
    ),
    Known(
        "NaN and infinity are no JSON; Python's library reads them.",
        r"(status|message|type): .* \| .*(Body contains invalid data|HTTPBadRequest)",
        r"NaN|Infinity|1e999",
    ),
    Known(
        "Neutron keeps the default group of a project that a request made which then failed.",
        r"^security_group(_rule)?s: \d+ elements|^cuts: ",
        r"(admin|service): GET security-group(-rule)?s",
    ),
    Known(
        "An update of nothing, and what is wrong with it: which is said first.",
        r"status: 400 .* \| 404 .* None could not be found",
        r"PUT (\S+/\.|[a-z-]+) ",
    ),
    Known(
        "Several subnets on a network: which of them gives an address is chance.",
        r"fixed_ips\[\]\.subnet_id: '[0-9a-f-]{36}' \| '[0-9a-f-]{36}'$",
        r"^(?!.*(POST|PUT) .*'subnet_id')",
    ),
    Known(
        "A port of one's own on a network that one does not see any more: in Neutron it is stuck.",
        r"status: 404 .*NetworkNotFound.* \| 20",
        r"(PUT|DELETE) ports/",
    ),
    Known(
        "Neutron's message lists the routes in an order of its own.",
        r"message: \"Invalid format for routes: \[.*\| \"Invalid format for routes: \[",
        r"add_extraroutes",
    ),
    Known(
        "Over quota, and not allowed besides: which is said first.",
        r"status: 409 .*OverQuota.* \| 403 .*PolicyNotAuthorized",
        r"POST ",
    ),
    Known(
        "Subnet pools are not there yet.",
        r"subnetpool_id: None \| absent",
    ),
)


def without_dhcp(ours: Answer) -> Answer:
    """Return an answer without DHCP ports: the oracle has no agents, and so nobody who would make them."""
    if not isinstance(ours.body, dict) or not isinstance(ports := ours.body.get("ports"), list):
        return ours
    kept = [port for port in ports if not str(port.get("device_id", "")).startswith("dhcp")]
    return replace(ours, body=ours.body | {"ports": kept})


def explanation(request: Request, difference: str) -> Known | None:
    """Return the entry that says why there is a difference, None where it is not one that we know and mean."""
    said = str(request)
    for known in KNOWN:
        if re.search(known.difference, difference) and re.search(known.request, said):
            return known
    return None
