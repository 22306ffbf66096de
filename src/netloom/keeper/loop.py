"""What time starts: builds that take too long, routers without a host, hosts that come and go, old history.

`tick` is called about once a second. Nearly always it only reads; it takes the writer's lock where there is
something to do. What it must remember from one tick to the next is its `Memory`: after a restart it begins
anew, which delays a timeout at most once.
"""

from __future__ import annotations

import logging
from datetime import UTC, datetime, timedelta

from msgspec import Struct, field

from netloom.compute import servers
from netloom.keeper import dhcp
from netloom.model import Away, Caller, Context, NetworkSettings, Port
from netloom.model.cloud import Server
from netloom.model.placement import places
from netloom.model.settings import ComputeSettings
from netloom.network import binding, liveness, placement, server_ports, status
from netloom.store import Reader, Store

log = logging.getLogger("netloom.keeper")

LOOK_SECONDS = 2.0
"""How often servers, routers and hosts are looked at."""

TIDY_SECONDS = 600.0
"""How often history is tidied up."""

_BATCH = 1000

_MOVED_TOGETHER = 50
"""Routers moved in one transaction: requests of others come between."""

_UNDER_WAY = frozenset({status.BUILD, *status.REBOOTING})
"""What a server is no longer than the setting says."""


class Memory(Struct, kw_only=True):
    """What the keeper remembers between ticks; times in seconds since 1970.

    `building`: server id → since when it is being built or restarted, as far as the keeper saw.
    """

    building: dict[str, float] = field(default_factory=dict)
    alive: frozenset[str] = frozenset()
    looked: float = 0.0
    tidied: float = 0.0
    dhcp_seen: int | None = None


def tick(
    store: Store,
    network: NetworkSettings,
    compute: ComputeSettings,
    memory: Memory,
    now: float,
    away: Away,
) -> None:
    """Do what is due at `now` (seconds since 1970). `away`: when the server could hear no host."""
    write_liveness(store)
    if now - memory.looked >= LOOK_SECONDS:
        memory.looked = now
        # The keeper acts for the operator.
        keeper = Caller(user_name="keeper", roles=frozenset({"admin"}))
        ctx = Context(caller=keeper, settings=network, away=away)
        notice_hosts(store, ctx, memory, now)
        place_routers(store, ctx)
        move_routers(store, ctx, now)
        fail_late_builds(store, ctx, compute, memory, now)
        memory.dhcp_seen = dhcp.follow(store, ctx, memory.dhcp_seen)
    if now - memory.tidied >= TIDY_SECONDS:
        memory.tidied = now
        tidy(store, compute, now)


def write_liveness(store: Store) -> None:
    """Write what hosts said since the last tick, of all of them in one transaction; none where nobody said anything."""
    unwritten = store.liveness.take()
    if not unwritten:
        return
    try:
        with store.writer(actor="keeper") as w:
            w.write_liveness(unwritten)
    except BaseException:
        store.liveness.put_back(unwritten)
        raise


def notice_hosts(store: Store, ctx: Context, memory: Memory, now: float) -> None:
    """Notice hosts that came or went; what could not be bound to one that came is tried again."""
    with store.reader() as reader:
        alive = liveness.all_alive(reader, ctx, now)
    for name in sorted(memory.alive - alive):
        log.warning("host %s does not report any more", name)
    for name in sorted(alive - memory.alive):
        log.info("host %s reports", name)
        with store.reader() as reader:
            failed = any(port.vif_type == binding.FAILED for port in reader.list(Port, host=name))
        if failed:
            with store.writer(actor="keeper") as w:
                bound = binding.retry(w, ctx, name)
            log.info("%d port(s) were bound to %s at last", len(bound), name)
    if alive - memory.alive:
        fill_up(store, ctx)
    memory.alive = alive


def fill_up(store: Store, ctx: Context) -> None:
    """Give HA routers a replica on hosts that came."""
    with store.reader() as reader:
        wanting = placement.short(reader, ctx)
    if wanting:
        with store.writer(actor="keeper") as w:
            for router in placement.fill_up(w, ctx):
                log.info("router %s has replicas on %s", router.id, ", ".join(places(router)))


def place_routers(store: Store, ctx: Context) -> None:
    """Give routers that wait for a host one, if there is one now."""
    with store.reader() as reader:
        waiting = [
            router for router in placement.waiting(reader) if placement.networks_of(reader, router)
        ]
        possible = any(placement.has_candidate(reader, ctx, router) for router in waiting)
    if possible:
        with store.writer(actor="keeper") as w:
            for router in placement.place_unplaced(w, ctx):
                log.info("router %s was placed on %s", router.id, ", ".join(places(router)))


def move_routers(store: Store, ctx: Context, now: float) -> None:
    """Move ordinary routers away from hosts that are dead, to hosts that can carry them; where none can they stay."""
    with store.reader() as reader:
        lost = placement.stranded(reader, ctx, now)
        ids = [router.id for router in lost if placement.has_candidate(reader, ctx, router)]
    for first in range(0, len(ids), _MOVED_TOGETHER):
        with store.writer(actor="keeper") as w:
            for router in placement.move_stranded(
                w, ctx, ids[first : first + _MOVED_TOGETHER], now
            ):
                log.warning("router %s moved to %s", router.id, ", ".join(places(router)))


def fail_late_builds(
    store: Store, ctx: Context, compute: ComputeSettings, memory: Memory, now: float
) -> None:
    """Put servers in ERROR that are being built or restarted for longer than the setting, with what holds them up."""
    with store.reader() as reader:
        found = {server.id: server for server in reader.list(Server, status=_UNDER_WAY)}
        memory.building = {ident: memory.building.get(ident, now) for ident in found}
        late = {
            ident: why_not_active(reader, ctx, found[ident], now)
            for ident, since in memory.building.items()
            if now - max(since, _seconds(found[ident].updated_at)) > compute.build_seconds
        }
    for ident, reason in late.items():
        with store.writer(actor="keeper") as w:
            server = w.get(Server, ident)
            # It may have become ACTIVE, or gone, since it was looked at.
            if server is None or w.api_status(Server, [ident]).get(ident) not in _UNDER_WAY:
                continue
            text = f"The server was not ready within {compute.build_seconds:.0f} s: {reason}"
            servers.fail(w, server, text)
        log.warning("server %s: %s", ident, text)


def why_not_active(reader: Reader, ctx: Context, server: Server, now: float) -> str:
    """Say what a server waits for, as its host reports it."""
    row = reader.host(server.host)
    if row is None or not liveness.alive(row, ctx, now):
        return f"its host {server.host} does not report"
    ports = server_ports.ports_of(reader, [server])[server.id]
    rows = reader.status_rows([server.id, *(port.id for port in ports)], host=server.host)
    said = [
        f"{row.kind} {row.id}: {row.detail}" for row in rows if row.state != "ok" and row.detail
    ]
    if said:
        return "; ".join(said)
    states = reader.api_status(Port, [port.id for port in ports])
    down = [
        f"port {port.id} is {states.get(port.id) or 'DOWN'}"
        for port in ports
        if states[port.id] != "ACTIVE"
    ]
    if down:
        return "; ".join(down)
    if not any(row.id == server.id and row.aspect == "instance" for row in rows):
        return f"its host {server.host} has not begun to run it"
    return "its host did not say why"


def tidy(store: Store, compute: ComputeSettings, now: float) -> None:
    """Forget changes older than the setting."""
    bound = (datetime.fromtimestamp(now, UTC) - timedelta(seconds=compute.change_seconds)).strftime(
        "%Y-%m-%dT%H:%M:%SZ"
    )
    with store.reader() as reader:
        newest, after = reader.seq(), reader.oldest() - 1
        while old := [change.seq for change in reader.changes(after, _BATCH) if change.at < bound]:
            after = old[-1]
        outdated = after - (reader.oldest() - 1)
    if outdated > 0:
        with store.writer(actor="keeper") as w:
            w.prune_changes(newest - after)


def _seconds(moment: str) -> float:
    """Seconds since 1970 of a document's time."""
    return datetime.fromisoformat(moment).timestamp()
