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
