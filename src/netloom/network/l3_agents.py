"""Routers given to L3 agents, and taken from them, by an operator."""

from __future__ import annotations

from netloom.contract.l3_agents import InvalidL3Agent, RouterHostedByL3Agent
from netloom.model import Context, Router
from netloom.model.placement import places
from netloom.network import lookup, neutron_agents, placement
from netloom.network.neutron_agents import Agent
from netloom.store import Reader, Writer


def routers_on(r: Reader, agent: Agent) -> list[Router]:
    """Return the routers that an agent carries; none for one that is no L3 agent."""
    return r.list(Router, host=agent.row.name) if agent.agent_type == neutron_agents.L3 else []


def add(w: Writer, ctx: Context, agent_id: str, router_id: str) -> None:
    """Give an agent's host a router. Of an HA router it becomes one more replica, whatever the setting says of their number.

    Raises InvalidL3Agent where the host does not carry it (it may be dead, as in Neutron), RouterHostedByL3Agent where an ordinary router
    is on another one.
    """
    router = lookup.router(w, ctx, router_id)
    agent = neutron_agents.get(w, ctx, agent_id)
    host = agent.row.name
    if agent.agent_type != neutron_agents.L3 or not placement.may_carry(w, router, agent.row):
        raise InvalidL3Agent(id=agent_id)
    if host in places(router):
        return
    if places(router) and not router.ha:
        there = neutron_agents.agent_id(places(router)[0], neutron_agents.L3)
        raise RouterHostedByL3Agent(router_id=router_id, agent_id=there)
    placement.put(w, ctx, router, host)


def remove(w: Writer, ctx: Context, agent_id: str, router_id: str) -> None:
    """Take a router from an agent's host; one that is not there stays as it is, as in Neutron.

    It is without that host until an operator gives it one, or its gateway or one of its interfaces is set: else it could
    be back before it is given to another one.
    """
    agent = neutron_agents.get(w, ctx, agent_id)
    router = lookup.router(w, ctx, router_id)
    if agent.agent_type == neutron_agents.L3 and agent.row.name in places(router):
        placement.take(w, ctx, router, agent.row.name)
