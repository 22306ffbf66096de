"""`netloom lab status`: every host, what it lags behind, every error by object."""

from __future__ import annotations

import time
from typing import Any

from netloom.lab import settings
from netloom.lab.state import Lab
from netloom.lab.topology import nodes, simulated
from netloom.lab.up import SERVER
from netloom.model import FloatingIP, Port, Router, Server
from netloom.model.server_settings import load
from netloom.store import Reader, Store

WANTED_SECONDS = 3.0
"""How long the server is waited for, until it has written how far each host should be."""

SILENT_SECONDS = 15.0
"""A simulated host that was not heard for so long is shown by itself."""


def collect(lab: Lab) -> dict[str, Any]:
    """Gather the status from processes and from what the hosts reported to the server."""
    state = lab.running()
    server = load(settings.server_file(lab)).server
    store = Store.open(server.database_url)
    try:
        # The server writes once a second how far each host should be.
        seq = store.wait_for_wanted(WANTED_SECONDS if state.processes[SERVER].alive else 0.0)
        with store.reader() as reader:
            rows, known = reader.status_rows(), reader.hosts()
            failed = _failed(reader)
    finally:
        store.close()
    hosts: list[dict[str, Any]] = []
    machines = [
        (node.name, node.roles, state.processes[node.name])
        for node in nodes(state.computes, networks=state.networks)
    ]
    machines += [
        (name, ("simulated",), state.processes[settings.SIMULATED])
        for name in simulated(state.simulated)
    ]
    for name, roles, process in machines:
        row = known.get(name)
        heard = row.heartbeat_at if row is not None else None
        hosts.append(
            {
                "host": name,
                "roles": list(roles),
                "running": process.alive,
                "heard_seconds_ago": None
                if heard is None
                else round(max(0.0, time.time() - heard), 1),
                "behind": None if row is None else row.behind,
            }
        )
    errors: list[dict[str, str]] = []
    waiting: dict[tuple[str, str], list[str]] = {}
    repairs: list[dict[str, str]] = []
    for row in rows:
        thing = f"{row.kind}/{row.id}"
        if row.aspect == "repair":
            repairs.append({"object": thing, "host": row.host, "detail": row.detail})
        elif row.state == "error":
            errors.append(
                {"object": thing, "host": row.host, "aspect": row.aspect, "detail": row.detail}
            )
        elif row.state != "ok" and thing not in waiting.setdefault((row.host, row.detail), []):
            waiting[row.host, row.detail].append(thing)
    reported = {error["object"] for error in errors}
    errors += [error for error in failed if error["object"] not in reported]
    alive = state.processes[SERVER].alive
    well = alive and not errors and all(host["running"] and not host["behind"] for host in hosts)
    return {
        "lab": lab.name,
        "api": f"http://127.0.0.1:{state.port}",
        "server_running": alive,
        "seq": seq,
        "hosts": hosts,
        "errors": errors,
        "repairs": repairs,
        "waiting": [
            {"host": host, "detail": detail, "objects": sorted(objects)}
            for (host, detail), objects in waiting.items()
        ],
        "well": well,
    }


def _failed(reader: Reader) -> list[dict[str, str]]:
    """What the API calls ERROR, with the reason that it gives; a host's own words of it come first elsewhere."""
    found: list[dict[str, str]] = []
    for kind in (Server, Router, Port, FloatingIP):
        things = {thing.id: thing for thing in reader.list(kind)}
        for ident, status in sorted(reader.api_status(kind, list(things)).items()):
            if status == "ERROR":
                thing = things[ident]
                fault = thing.fault if isinstance(thing, Server) else None
                found.append(
                    {
                        "object": f"{kind.KIND}/{ident}",
                        "host": getattr(thing, "host", ""),
                        "aspect": "status",
                        "detail": (fault or {}).get("message", "") or "its status is ERROR",
                    }
                )
    return found


def text(found: dict[str, Any]) -> str:
    """Write the status for a person: "no errors" stands there only where all is well and nothing waits."""
    lines = [
        f"lab {found['lab']}: API {found['api']}"
        + ("" if found["server_running"] else " (the server is NOT running)")
        + f", change {found['seq']}"
    ]
    plain = [host["host"] for host in found["hosts"] if _is_plain(host)]
    for host in found["hosts"]:
        if host["host"] in plain:
            continue
        heard = host["heard_seconds_ago"]
        words = [
            "running" if host["running"] else "NOT running",
            "never heard of" if heard is None else f"heard {heard:.0f} s ago",
            "up to date" if not host["behind"] else f"{host['behind']} changes behind",
        ]
        if not host["running"]:
            words = ["NOT running"]
        lines.append(f"  {host['host']:<12} {'+'.join(host['roles']):<8} {', '.join(words)}")
    if plain:
        names = plain[0] if len(plain) == 1 else f"{plain[0]} … {plain[-1]}"
        lines.append(f"  {names:<12} simulated {len(plain)} running, up to date")
    for error in found["errors"]:
        where = f" on {error['host']}" if error["host"] else ""
        lines.append(f"  error: {error['object']}{where} ({error['aspect']}): {error['detail']}")
    for wait in found["waiting"]:
        # One cause holds up many objects: the port is what a person looks for.
        objects = sorted(wait["objects"], key=lambda thing: not thing.startswith("port/"))
        more = f" and {len(objects) - 1} more" if len(objects) > 1 else ""
        lines.append(f"  waiting: {objects[0]}{more} on {wait['host']}: {wait['detail']}")
    for repair in found["repairs"]:
        lines.append(f"  repair: {repair['object']} on {repair['host']}: {repair['detail']}")
    if found["well"] and not found["waiting"]:
        lines.append("  no errors")
    return "\n".join(lines)


def _is_plain(host: dict[str, Any]) -> bool:
    """A simulated host of which there is nothing to say: one line is enough for all of them."""
    heard = host["heard_seconds_ago"]
    return (
        host["roles"] == ["simulated"]
        and host["running"]
        and not host["behind"]
        and heard is not None
        and heard < SILENT_SECONDS
    )
