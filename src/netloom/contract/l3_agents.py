"""Errors of giving routers to L3 agents, which Neutron holds outside of neutron-lib."""

from __future__ import annotations

from neutron_lib import exceptions as lib
from neutron_lib.exceptions.agent import AgentNotFound


class InvalidL3Agent(AgentNotFound):
    """The agent carries no routers, or not this one."""

    message = "Agent %(id)s is not a L3 Agent or has been disabled"


class RouterHostedByL3Agent(lib.Conflict):
    """An ordinary router is on another host already."""

    message = "The router %(router_id)s has been already hosted by the L3 Agent %(agent_id)s."
