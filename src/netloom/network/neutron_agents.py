"""The agents of the API: what Neutron shows as several agents of a host, seen from our one.

Nothing is stored for them. A host with any role has the layer 2 agent of its backend, a DHCP and a metadata agent; one of
the role `network` an L3 agent beside. Their ids are made from the host's name, so they never change.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from typing import Any
from uuid import NAMESPACE_DNS, uuid5

from msgspec import Struct
from msgspec.structs import replace
from neutron_lib import exceptions as lib
from neutron_lib.exceptions.agent import AgentNotFound

from netloom.contract.errors import HTTPBadRequest
from netloom.model import Context, HostFacts, Router
from netloom.model.hosts import ACTIVE_HERE, STANDBY_HERE
from netloom.model.placement import places
from netloom.network import backends, liveness, placement
from netloom.store import HostRow, Reader, Writer

L3 = "L3 agent"

KINDS: dict[str, tuple[str, str, bool]] = {
    **{each.agent_type: (each.binary, "N/A", False) for each in backends.BACKENDS.values()},
    "DHCP agent": ("neutron-dhcp-agent", "dhcp_agent", False),
    "Metadata agent": ("neutron-metadata-agent", "N/A", False),
    L3: ("neutron-l3-agent", "l3_agent", True),
}
"""Type → binary, topic, and whether only hosts of the role `network` have it."""

_READ_ONLY = frozenset(
    {
        "id",
        "agent_type",
        "binary",
        "topic",
        "host",
        "alive",
        "created_at",
        "started_at",
        "heartbeat_timestamp",
        "configurations",
        "availability_zone",
        "resources_synced",
    }
)


class Agent(Struct, frozen=True):
    """One row of `agents`: a part of one host's agent."""

    id: str
    agent_type: str
    row: HostRow
    alive: bool


def agent_id(host: str, agent_type: str) -> str:
    """Return the id of a host's agent of this type."""
    return str(uuid5(NAMESPACE_DNS, f"{agent_type}.{host}.netloom"))


def list_all(r: Reader, ctx: Context) -> list[Agent]:
    """Return every agent of every host that has reported, by id."""
    found = [
        Agent(agent_id(row.name, kind), kind, row, liveness.alive(row, ctx))
        for row in r.hosts().values()
        if row.facts is not None
        for kind in _kinds(row.facts)
    ]
    return sorted(found, key=lambda agent: agent.id)


def _kinds(facts: HostFacts) -> list[str]:
    """The types of a host's agents."""
    others = {each.agent_type for each in backends.BACKENDS.values()}
    others.discard(backends.of(facts).agent_type)
    carries_routers = placement.NETWORK_ROLE in facts.roles
    return [
        kind
        for kind, (_, _, network_only) in KINDS.items()
        if kind not in others and (carries_routers or not network_only)
    ]


def get(r: Reader, ctx: Context, id: str) -> Agent:
    """Return one agent; raises AgentNotFound."""
    for agent in list_all(r, ctx):
        if agent.id == id:
            return agent
    raise AgentNotFound(id=id)


def update(w: Writer, ctx: Context, old: Agent, attrs: dict[str, Any]) -> Agent:
    """Switch `admin_state_up`. It is the host's: all its agents follow, as one program does all their work."""
    for name in attrs:
        if name in _READ_ONLY:
            raise HTTPBadRequest(f"Cannot update read-only attribute {name}")
        if name not in ("admin_state_up", "description"):
            raise HTTPBadRequest(f"Unrecognized attribute(s) '{name}'")
    if attrs.get("description") is not None:
        raise lib.BadRequest(resource="agents", msg="agents of this cloud carry no description")
    if "admin_state_up" in attrs:
        w.put_host(old.row.name, admin_state_up=attrs["admin_state_up"])
    return get(w, ctx, old.id)


def delete(w: Writer, ctx: Context, old: Agent) -> None:
    """Forget a dead host with all its agents and its credential; a live one is refused."""
    if old.alive:
        raise lib.BadRequest(
            resource="agents",
            msg=f"agent {old.id} is alive; stop the agent of host {old.row.name} first",
        )
    w.delete_host(old.row.name)


def zones(r: Reader) -> set[str]:
    """Return the availability zones of hosts that may carry routers."""
    return {
        row.facts.availability_zone
        for row in r.hosts().values()
        if row.facts is not None and placement.NETWORK_ROLE in row.facts.roles
    }


def availability_zones(r: Reader, ctx: Context) -> list[dict[str, Any]]:
    """Return the API's availability zones: available while one host of it lives and is switched on."""
    states: dict[tuple[str, str], bool] = {}
    for row in r.hosts().values():
        if row.facts is None:
            continue
        up = row.admin_state_up and liveness.alive(row, ctx)
        for resource in ("network", "router"):
            if resource == "router" and placement.NETWORK_ROLE not in row.facts.roles:
                continue
            key = (row.facts.availability_zone, resource)
            states[key] = states.get(key, False) or up
    return [
        {
            "name": name,
            "resource": resource,
            "state": "available" if up else "unavailable",
        }
        for (name, resource), up in sorted(states.items())
    ]


def show(r: Reader, ctx: Context, objs: Sequence[Agent]) -> list[dict[str, Any]]:
    """Return agents as the API shows them."""
    return [_show(agent, agent.row.facts) for agent in objs if agent.row.facts is not None]


def _show(agent: Agent, facts: HostFacts) -> dict[str, Any]:
    binary, topic, _ = KINDS[agent.agent_type]
    heartbeat = _moment(agent.row.heartbeat_at)
    started = facts.started_at.replace("T", " ").rstrip("Z") or heartbeat
    # A layer 2 agent has no availability zone in Neutron.
    zone = facts.availability_zone if agent.agent_type in ("L3 agent", "DHCP agent") else None
    return {
        "id": agent.id,
        "agent_type": agent.agent_type,
        "binary": binary,
        "topic": topic,
        "host": agent.row.name,
        "admin_state_up": agent.row.admin_state_up,
        "alive": agent.alive,
        "created_at": started,
        "started_at": started,
        "heartbeat_timestamp": heartbeat,
        "description": None,
        "resources_synced": None,
        "availability_zone": zone,
        "configurations": _configurations(agent.agent_type, facts),
    }


def _configurations(agent_type: str, facts: HostFacts) -> dict[str, Any]:
    if agent_type == backends.of(facts).agent_type:
        return backends.configurations(facts)
    if agent_type == "L3 agent":
        return {"agent_mode": "legacy"}
    return {"dhcp_driver": "dnsmasq"} if agent_type == "DHCP agent" else {}


def of_router(r: Reader, ctx: Context, router: Router) -> list[dict[str, Any]]:
    """Return the L3 agents of a router's hosts as the API shows them, each with its `ha_state`: None of an ordinary router."""
    hosts = places(router)
    rows = r.hosts(set(hosts)) if hosts else {}
    said = {row.host: row.detail for row in r.status_rows([router.id]) if row.aspect == "ha"}
    living = {host: liveness.alive(row, ctx) and row.admin_state_up for host, row in rows.items()}
    shown: list[dict[str, Any]] = []
    for host in hosts:
        row = rows.get(host)
        if row is None or row.facts is None:
            continue
        agent = Agent(agent_id(host, L3), L3, row, liveness.alive(row, ctx))
        state = None
        if router.ha:
            state = said.get(host) or STANDBY_HERE
            if state == ACTIVE_HERE and not living[host]:
                # Of a dead one the last that is known, as in Neutron: another one, if there is one, has taken over.
                state = STANDBY_HERE if any(living.values()) else "unknown"
        shown.append({**_show(agent, row.facts), "ha_state": state})
    return shown


def active_first(r: Reader, routers: Mapping[str, Router]) -> Mapping[str, Router]:
    """Return the same routers, of each HA router the replica first whose host says that it is active there."""
    several = [router.id for router in routers.values() if router.ha and len(router.replicas) > 1]
    if not several:
        return routers
    said = {
        row.id: row.host
        for row in r.status_rows(several)
        if row.aspect == "ha" and row.detail == ACTIVE_HERE
    }
    ordered = {
        id: replace(
            routers[id], replicas=tuple(sorted(routers[id].replicas, key=lambda e: e.host != host))
        )
        for id, host in said.items()
    }
    return {**routers, **ordered}


def _moment(at: float | None) -> str | None:
    return None if at is None else time.strftime("%Y-%m-%d %H:%M:%S", time.gmtime(at))
