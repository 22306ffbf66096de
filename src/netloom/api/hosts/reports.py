"""What agents say, read as what it is: a stranger's bytes. Bounded first, then decoded, then checked.

Every mistake is a BadRequest of one line that says where it is; nothing here touches another host.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Annotated, Any, TypeVar

import msgspec
from msgspec import Meta, Struct

from netloom.model import KINDS, HostFacts, Status
from netloom.model.bounds import one_line
from netloom.model.errors import BadRequest
from netloom.model.hosts import MOST_ROWS, Seq

T = TypeVar("T")

FACTS_BYTES = 64 * 1024
STATUS_BYTES = 2 * 1024 * 1024
CONSOLE_BYTES = 256 * 1024
"""The largest bodies. An agent splits a longer report, and sends the last 100 KiB of a console."""

REPORTED_KINDS = frozenset({*KINDS, "host"})


class Facts(HostFacts, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """HostFacts as they arrive: a field that this server does not know is refused, not left out."""


class Row(Status, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Status as it arrives."""


class StatusReport(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """`applied_seq`: the change that the host has carried out; `rows`: what became of its objects.

    `whole`: nothing else is wrong there, whatever was reported earlier.
    """

    applied_seq: Seq
    rows: Annotated[tuple[Row, ...], Meta(max_length=MOST_ROWS)] = ()
    whole: bool = False


def facts(body: bytes, host: str) -> HostFacts:
    """Decode the facts of this very host."""
    said = _decode(body, Facts)
    if said.host != host:
        raise BadRequest(f"These are the facts of host {one_line(said.host, 100)}.")
    return msgspec.convert(msgspec.to_builtins(said), HostFacts)


def report(body: bytes, newest: int) -> StatusReport:
    """Decode a report. Nothing in it can be of a change that is not made yet: the newest is `newest`."""
    said = _decode(body, StatusReport)
    if said.applied_seq > newest:
        raise BadRequest(f"applied_seq {said.applied_seq} is past the newest change, {newest}.")
    seen: set[tuple[str, str, str]] = set()
    for row in said.rows:
        if row.kind not in REPORTED_KINDS:
            raise BadRequest(f"There is no kind {one_line(row.kind, 40)}.")
        if row.seq > newest:
            raise BadRequest(f"seq {row.seq} is past the newest change, {newest}.")
        if (key := (row.kind, row.id, row.aspect)) in seen:
            raise BadRequest(f"{row.kind} {one_line(row.id, 80)} is there twice.")
        seen.add(key)
    return said


def _decode(body: bytes, kind: type[T]) -> T:
    try:
        # msgspec takes the last of two equal keys and says nothing: whoever checked the first would be deceived.
        json.loads(body, object_pairs_hook=_once)
        return msgspec.json.decode(body, type=kind)
    except RecursionError:
        raise BadRequest("The JSON is nested too deeply.") from None
    except ValueError as error:
        raise BadRequest(f"The body is not what is expected: {one_line(str(error), 300)}") from None


def _once(pairs: Iterable[tuple[str, Any]]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for key, value in pairs:
        if key in found:
            raise ValueError(f"the key {one_line(key, 60)!r} is there twice")
        found[key] = value
    return found
