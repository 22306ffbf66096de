"""Compute API: which servers a list's filters let through.

Every filter that Nova has is honoured or refused. One that Nova does not have is refused from 2.75 on, as in
Nova; older clients' own words are not looked at.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import UTC, datetime

from starlette.requests import Request

from netloom.api.compute import server_forms as forms
from netloom.api.compute.microversions import at_least
from netloom.api.http import caller_of
from netloom.api.service import boolean
from netloom.model import FloatingIP
from netloom.model.cloud import Server
from netloom.model.errors import BadRequest
from netloom.network import server_ports
from netloom.store import Reader

Test = Callable[[Server], bool]

_TEXTS: dict[str, Callable[[Server], str]] = {
    "uuid": lambda server: server.id,
    "image": lambda server: server.image_id,
    "image_ref": lambda server: server.image_id,
    "flavor": lambda server: server.flavor.id,
    "user_id": lambda server: server.user_id,
    "key_name": lambda server: server.key_name or "",
    "availability_zone": lambda server: server.availability_zone,
    "reservation_id": lambda server: server.reservation,
    "hostname": lambda server: server.hostname,
    "description": lambda server: server.description,
    "launch_index": lambda server: str(server.launch_index),
}

_ADMINS_TEXTS: dict[str, Callable[[Server], str]] = {
    "host": lambda server: server.host,
    "node": lambda server: server.host,
    "project_id": lambda server: server.project_id,
    "tenant_id": lambda server: server.project_id,
}
"""For others than admins these say nothing, as in Nova: all they see is of their project."""

_OF_STATUS: dict[str, Callable[[str, str], str]] = {
    "vm_state": lambda status, _: forms.STATES.get(status, (status.lower(), 0))[0],
    "power_state": lambda status, _: str(forms.STATES.get(status, ("", 0))[1]),
    "task_state": lambda status, power: forms.task_state(status, power) or "",
    "progress": lambda status, _: "100" if status == "ACTIVE" else "0",
}

_FLAGS = {"locked": 73, "config_drive": 1}
"""Flag → since which microversion. No server is locked here, none has a config drive."""

_REFUSED = frozenset(
    {
        "access_ip_v4",
        "access_ip_v6",
        "auto_disk_config",
        "created_at",
        "instance_type_id",
        "kernel_id",
        "launched_at",
        "ramdisk_id",
        "root_device_name",
        "terminated_at",
    }
)

_OTHERS = frozenset(
    {
        "all_projects",
        "all_tenants",
        "changes-before",
        "changes-since",
        "deleted",
        "display_name",
        "ip",
        "ip6",
        "limit",
        "marker",
        "name",
        "not-tags",
        "not-tags-any",
        "soft_deleted",
        "sort_dir",
        "sort_key",
        "status",
        "tags",
        "tags-any",
    }
)

_KNOWN = {*_TEXTS, *_ADMINS_TEXTS, *_OF_STATUS, *_FLAGS, *_REFUSED, *_OTHERS}


def filtered(
    request: Request, reader: Reader, found: list[Server], states: dict[str, str]
) -> list[Server]:
    """Return those that the query asks for. `states`: server id → status, BUILD where it has none yet."""
    query, admin = request.query_params, caller_of(request).is_admin
    for name in query:
        if name in _REFUSED and query[name]:
            raise BadRequest(f"Servers cannot be filtered by {name} here.")
        if name not in _KNOWN and at_least(request, 75):
            raise BadRequest(f"Additional properties are not allowed ({name!r} was unexpected)")
    if "deleted" in query and admin and boolean(query["deleted"], "deleted"):
        return []  # nothing is kept of a server that is gone
    tests = [*_by_text(request, states), *_by_time(request), *_by_tags(request)]
    for name, since in _FLAGS.items():
        if at_least(request, since) and query.get(name) and boolean(query[name], name):
            return []
    for name, version in (("ip", 4), ("ip6", 6)):
        if address := query.get(name):
            having = _with_address(reader, found, address, version)
            tests.append(lambda server, having=having: server.id in having)
    return [server for server in found if all(test(server) for test in tests)]


def _by_text(request: Request, states: dict[str, str]) -> list[Test]:
    query = request.query_params
    tests: list[Test] = []
    for name in ("name", "display_name"):
        if name in query:
            fits = name_test(query[name])
            tests.append(lambda server, fits=fits: fits(server.name))
    if "status" in query:
        wanted = {status.upper() for status in query.getlist("status")}
        tests.append(lambda server: (states.get(server.id) or "BUILD") in wanted)
    for name, of in _OF_STATUS.items():
        if query.get(name):
            word = query[name].lower()
            tests.append(
                lambda s, of=of, word=word: of(states.get(s.id) or "BUILD", s.power) == word
            )
    texts = _TEXTS | _ADMINS_TEXTS if caller_of(request).is_admin else _TEXTS
    for name, read in texts.items():
        if query.get(name):
            tests.append(lambda server, read=read, wanted=query[name]: read(server) == wanted)
    return tests


def _by_time(request: Request) -> list[Test]:
    query = request.query_params
    tests: list[Test] = []
    if since := query.get("changes-since"):
        moment = _moment(since, "changes-since")
        tests.append(lambda server: server.updated_at >= moment)
    if at_least(request, 66) and (before := query.get("changes-before")):
        last = _moment(before, "changes-before")
        tests.append(lambda server: server.updated_at <= last)
    return tests


def _moment(text: str, name: str) -> str:
    """Return a time as documents have it; one without a zone is UTC."""
    try:
        moment = datetime.fromisoformat(text)
        moment = (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).astimezone(UTC)
    except (ValueError, OverflowError):
        raise BadRequest(
            f"Invalid input for query parameters {name}: {text!r} is not a 'date-time'"
        ) from None
    return moment.strftime("%FT%TZ")


def _by_tags(request: Request) -> list[Test]:
    query = request.query_params
    if not at_least(request, 26):
        return []
    tests: dict[str, Callable[[set[str], set[str]], bool]] = {
        "tags": lambda wanted, has: wanted <= has,
        "tags-any": lambda wanted, has: bool(wanted & has),
        "not-tags": lambda wanted, has: not wanted <= has,
        "not-tags-any": lambda wanted, has: not wanted & has,
    }
    found: list[Test] = []
    for name, test in tests.items():
        if query.get(name):
            wanted = set(query[name].split(","))
            found.append(lambda server, test=test, wanted=wanted: test(wanted, set(server.tags)))
    return found


def _with_address(reader: Reader, found: list[Server], text: str, version: int) -> set[str]:
    fits = name_test(text)
    owned = server_ports.ports_of(reader, found)
    server_of = {port.id: ident for ident, ports in owned.items() for port in ports}

    def matches(address: str) -> bool:
        return (6 if ":" in address else 4) == version and fits(address)

    having = {
        ident
        for ident, ports in owned.items()
        if any(matches(fixed.ip_address) for port in ports for fixed in port.fixed_ips)
    }
    floating = reader.list(FloatingIP, port_id=list(server_of))
    return having | {
        server_of[fip.port_id or ""] for fip in floating if matches(fip.floating_ip_address)
    }


def name_test(pattern: str) -> Callable[[str], bool]:
    """Return a test for Nova's name filter, a regular expression there.

    Here anchors, `.*` and escaped or plain characters: what people use, and nothing that could be made to
    run for minutes.
    """
    body, begins, ends = pattern, pattern.startswith("^"), pattern.endswith("$")
    body = body[1:] if begins else body
    body = body[:-1] if ends and not body.endswith("\\$") else body
    parts = body.split(".*")
    plain: list[str] = []
    for part in parts:
        if re.search(r"(?<!\\)[*+?()\[\]{}|^$]", part):
            raise BadRequest(f"Invalid filter {pattern!r}: use plain text, ^, $ and .* only.")
        plain.append(re.sub(r"\\(.)", r"\1", part))

    def fits(text: str) -> bool:
        place = 0
        for index, part in enumerate(plain):
            last = index == len(plain) - 1
            if index == 0 and begins:
                if not text.startswith(part):
                    return False
                place = len(part)
            elif last and ends:
                return len(text) - len(part) >= place and text.endswith(part)
            else:
                at = text.find(part, place)
                if at < 0:
                    return False
                place = at + len(part)
        return not ends or place == len(text)

    return fits
