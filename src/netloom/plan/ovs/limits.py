"""Limits and marks of QoS policies: meters, and the stages in which they are asked.

A flow has one meter at most, so bits and packets have a stage each; only what a policy is for goes through them. A meter drops the
packet as a whole, and with it the copies that are still to be made of it: so frames to a group of receivers are not metered
on their way to a device (a full meter of one port would keep them from the others), as in Neutron.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

from netloom.model.family import FAMILIES
from netloom.model.hoststate import HostObject
from netloom.model.meter import Meter
from netloom.model.names import INTEGRATION_BRIDGE
from netloom.model.networking import Network, Port
from netloom.model.openflow import Action, Goto, Match, Metered, SetDscp
from netloom.model.origin import Origin
from netloom.plan import qos
from netloom.plan.index import Index, origin
from netloom.plan.ovs.bridges import flow
from netloom.plan.ovs.pipeline import Priority, Stage

UNICAST = "00:00:00:00:00:00/01:00:00:00:00:00"
"""Matches every MAC address that is one receiver's."""

Chain = tuple[tuple[Action, ...], list[HostObject]]
"""How a packet gets on, and what must be there for it."""


class Stages(NamedTuple):
    """Where bits and where packets are counted."""

    bits: Stage
    packets: Stage


_SENT = Stages(Stage.SENT_BITS, Stage.SENT_PACKETS)
_RECEIVED = Stages(Stage.RECEIVED_BITS, Stage.RECEIVED_PACKETS)
SENT_BY_ADDRESS = Stages(Stage.ADDRESS_SENT_BITS, Stage.ADDRESS_SENT_PACKETS)
RECEIVED_BY_ADDRESS = Stages(Stage.ADDRESS_RECEIVED_BITS, Stage.ADDRESS_RECEIVED_PACKETS)


def chain(
    stages: Stages,
    name: str,
    found: qos.Limits,
    match: dict[str, Any],
    onward: tuple[Action, ...],
    why: tuple[Origin, ...],
) -> Chain:
    """Ask limits in their stages, packets that `match`, and then go on as without any."""
    objects: list[HostObject] = []
    why += found.why

    def meter(limit: qos.Limit | None) -> tuple[Action, ...]:
        if limit is None:
            return ()
        made = Meter(
            bridge=INTEGRATION_BRIDGE,
            name=f"{name}/{limit.unit}",
            unit=limit.unit,
            rate=limit.rate,
            burst=limit.burst,
            origin=why,
        )
        objects.append(made)
        return (Metered(made.name),)

    def asked(stage: Stage, priority: int, more: dict[str, Any], *actions: Action) -> None:
        objects.append(flow(stage, priority, Match(**match, **more), *actions, origin=why))

    if found.packets is not None or found.mark is not None:
        metered = meter(found.packets)
        asked(stages.packets, Priority.NORMAL, {}, *metered, *onward)
        if found.mark is not None:
            for family in FAMILIES:
                if match.get("eth_type", family.eth_type) == family.eth_type:
                    more = {} if "eth_type" in match else {"eth_type": family.eth_type}
                    way = (*metered, SetDscp(found.mark), *onward)
                    if not more:
                        objects.pop()  # of one family alone: all of it is marked
                    asked(stages.packets, Priority.SPECIAL if more else Priority.NORMAL, more, *way)
        onward = (Goto(int(stages.packets)),)
    if found.bits is not None:
        asked(stages.bits, Priority.NORMAL, {}, *meter(found.bits), *onward)
        onward = (Goto(int(stages.bits)),)
    return onward, objects


def sent(index: Index, network: Network, port: Port, onward: tuple[Action, ...]) -> Chain:
    """What a port sends goes on through its limits."""
    policy = qos.of_port(index, network, port)
    found = qos.limits(index, network, policy, "egress")
    match = {"src_port": port.key}
    return chain(_SENT, f"{port.id}/egress", found, match, onward, origin(port))


def received(index: Index, network: Network, port: Port, onward: tuple[Action, ...]) -> Chain:
    """What is for a port gets out of its device through its limits."""
    policy = qos.of_port(index, network, port)
    found = qos.limits(index, network, policy, "ingress")
    match = {"dst_port": port.key}
    return chain(_RECEIVED, f"{port.id}/ingress", found, match, onward, origin(port))


def out_of_limits(port: Port, chain: Chain) -> Iterator[HostObject]:
    """OUTPUT: what is for a port with limits, and for it alone, meets them first."""
    way, objects = chain
    if objects:
        match = Match(dst_port=port.key, eth_dst=UNICAST)
        yield flow(Stage.OUTPUT, Priority.NORMAL + 1, match, *way, origin=objects[0].origin)
        yield from objects
