"""Types of QoS rules: what can be in a policy, and who carries it out. No stored objects."""

from __future__ import annotations

from typing import Any

from neutron_lib import constants
from neutron_lib import exceptions as lib
from neutron_lib.db import constants as db
from starlette.requests import Request
from starlette.responses import Response

from netloom.api.http import caller_of, respond
from netloom.api.networking import collections, query
from netloom.contract.errors import HTTPMethodNotAllowed, HTTPNotFound
from netloom.model import QOS_RULES
from netloom.network import backends

Doc = dict[str, Any]

_NUMBER: Doc = {
    "parameter_values": {"start": 0, "end": db.DB_INTEGER_MAX_VALUE},
    "parameter_type": "range",
}


def _choice(values: Any) -> Doc:
    return {"parameter_values": list(values), "parameter_type": "choices"}


_DIRECTION = _choice(constants.VALID_DIRECTIONS)

_PARAMETERS: dict[str, dict[str, Doc]] = {
    "bandwidth_limit": {
        "max_kbps": _NUMBER,
        "max_burst_kbps": _NUMBER,
        "direction": _DIRECTION,
    },
    "dscp_marking": {"dscp_mark": _choice(constants.VALID_DSCP_MARKS)},
    "minimum_bandwidth": {"min_kbps": _NUMBER, "direction": _DIRECTION},
    "minimum_packet_rate": {
        "min_kpps": _NUMBER,
        "direction": _choice(constants.VALID_DIRECTIONS_AND_ANY),
    },
    "packet_rate_limit": {
        "max_kpps": _NUMBER,
        "max_burst_kpps": _NUMBER,
        "direction": _DIRECTION,
    },
}
"""Type → parameter → what it may be, as clients are told."""


async def answer(request: Request, rest: list[str]) -> Response:
    """Answer `/qos/rule-types` and `/qos/rule-types/{type}`."""
    if request.method != "GET":
        raise HTTPMethodNotAllowed
    if len(rest) > 1:
        raise HTTPNotFound
    asked = query.parse("rule_types", request.query_params.multi_items())
    if rest:
        return respond(
            200, {"rule_type": query.pick([_details(request, rest[0])], asked.fields)[0]}
        )
    policy, caller = collections.policy_for(request), caller_of(request)
    everything = any(asked.filters.get(name) for name in ("all_rules", "all_supported"))
    types = [kind.TYPE for kind in QOS_RULES] if everything else backends.qos_rule_types()
    docs = [{"type": type} for type in types]
    allowed = policy.allowed(caller, "get_rule_type", docs)
    return respond(200, {"rule_types": query.pick(allowed, asked.fields)})


def _details(request: Request, type: str) -> Doc:
    """Return what one type can be; for administrators alone, as in Neutron."""
    if not caller_of(request).is_admin:
        raise lib.NotAuthorized
    if type not in _PARAMETERS:
        raise HTTPNotFound
    parameters = [{"parameter_name": name, **facts} for name, facts in _PARAMETERS[type].items()]
    drivers = [
        {"name": backend.driver, "supported_parameters": parameters}
        for backend in backends.BACKENDS.values()
        if type in backend.qos_rules and backend.name != "none"
    ]
    return {"type": type, "drivers": drivers}
