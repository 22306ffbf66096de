"""What a host says of itself: its facts, and what became of its objects.

Most of what hosts say is that they are still there. That is noted in memory (`store/liveness.py`): no thread, no statement
and no transaction. Only what alters a row goes to the writer.
"""

from __future__ import annotations

import functools
import time

import msgspec
from starlette.requests import Request
from starlette.responses import Response

from netloom.api.hosts import reports
from netloom.api.http import (
    body_of,
    in_host_thread,
    respond,
    run_write,
    services_of,
)
from netloom.api.services import Services
from netloom.model import Context, HostFacts, Server
from netloom.model.errors import Unauthorized
from netloom.network import admission, status
from netloom.store import HostRow, Reader, Writer

SHORT_BYTES = 1024
"""A report of at most so many bytes is decoded where it arrives: a thread would cost more."""

NEWEST = 2**63 - 1


async def put_facts(request: Request, host: str) -> Response:
    """Take the facts of a host. Those that are the same as before cost no transaction."""
    services = services_of(request)
    body = await body_of(request, reports.FACTS_BYTES)
    facts = await in_host_thread(services, functools.partial(_new_facts, services, host, body))
    if facts is not None:
        news = facts  # as it is here, for the function below

        def write(writer: Writer, ctx: Context) -> None:
            admission.admit(writer, ctx.settings, _registered(writer, host), news)

        await run_write(request, write)
    services.store.liveness.heard(host, time.time())
    return respond(204)


def _new_facts(services: Services, host: str, body: bytes) -> HostFacts | None:
    """Decode facts; None where they are those that were admitted already."""
    facts = reports.facts(body, host)
    with services.store.reader() as reader:
        row = _registered(reader, host)
        network = services.settings.network
        same = row.facts == facts and admission.is_admitted(reader, network, row)
    return None if same else facts


async def post_status(request: Request, host: str) -> Response:
    """Take a report."""
    services = services_of(request)
    body = await body_of(request, reports.STATUS_BYTES)
    if len(body) <= SHORT_BYTES:
        report = reports.report(body, NEWEST)
        if not report.rows and not report.whole:
            await _note(request, host, body, report.applied_seq)
            return respond(204)
    report = await in_host_thread(services, functools.partial(_report, services, host, body))
    now = time.time()

    def write(writer: Writer, _: Context) -> None:
        before = _registered(writer, host).applied_seq
        # With the rows, so that what is decided from both is: a server that is stopped, say.
        writer.heartbeat(host, now, report.applied_seq)
        over = _no_more(writer, host, report) if report.whole else []
        touched = {(row.kind, row.id) for row in report.rows} | {(k, i) for k, i, _ in over}
        writer.drop_rows(host, over)
        writer.put_status(host, report.rows)
        touched |= _reached(writer, host, before, report.applied_seq)
        if touched:
            status.refresh(writer, touched)

    await run_write(request, write)
    services.store.liveness.heard(host, now, report.applied_seq, written=True)
    return respond(204)


async def _note(request: Request, host: str, body: bytes, applied: int) -> None:
    """Note that a host lives and has carried out change `applied`, which is all that it said in `body`.

    Of a change that does not concern the host nothing else follows.
    """
    services = services_of(request)
    liveness = services.store.liveness
    request.scope["netloom.quiet"] = True  # no line of the log a host each five seconds
    if applied > services.scope.seq:
        # Since its start this process may not have looked at the newest change yet.
        await in_host_thread(services, functools.partial(_decoded, services, body))
    before = liveness.applied(host)
    if before == applied or (before is not None and not services.feed.concerns(host, before)):
        liveness.heard(host, time.time(), applied)
        return

    def look() -> set[tuple[str, str]]:
        with services.store.reader() as reader:
            return _reached(reader, host, _registered(reader, host).applied_seq, applied)

    touched = await in_host_thread(services, look)
    liveness.heard(host, time.time(), applied)
    if touched:
        await run_write(request, lambda writer, _: status.refresh(writer, touched))


def _reached(reader: Reader, host: str, before: int, applied: int) -> set[tuple[str, str]]:
    """The host's servers whose start or stop it has carried out now.

    Started and stopped again, or the reverse, before the host heard of it: there is nothing to report, and yet it is done.
    """
    if applied <= before:
        return set()
    return {
        (Server.KIND, server.id)
        for server in reader.list(Server, host=host)
        if before < server.power_seq <= applied
    }


def _report(services: Services, host: str, body: bytes) -> reports.StatusReport:
    """Decode a report, with those of its rows that are of objects of the host's scope.

    The others are left out without a word: an object may have been deleted, or have left the host, meanwhile. That it
    has nothing to do with an object any more (`gone`) a host may always say: only its own words on it go.
    """
    report = _decoded(services, body)
    known = services.scope.knows(host, {(row.kind, row.id) for row in report.rows})
    rows = tuple(row for row in report.rows if row.state == "gone" or (row.kind, row.id) in known)
    return msgspec.structs.replace(report, rows=rows)


def _decoded(services: Services, body: bytes) -> reports.StatusReport:
    with services.store.reader() as reader:
        newest = reader.seq()
    return reports.report(body, newest)


def _no_more(reader: Reader, host: str, report: reports.StatusReport) -> list[tuple[str, str, str]]:
    """What was wrong when the host last reported and is not in its whole report: no trouble of today."""
    said = {(row.kind, row.id, row.aspect) for row in report.rows}
    return [
        (old.kind, old.id, old.aspect)
        for old in reader.status_rows(host=host)
        if old.state != "ok" and (old.kind, old.id, old.aspect) not in said
    ]


def _registered(reader: Reader, host: str) -> HostRow:
    """The host, which may have been removed since its secret was checked."""
    row = reader.host(host)
    if row is None:
        raise Unauthorized("The host's credential is not valid: see `netloom host add`.")
    return row
