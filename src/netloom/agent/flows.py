"""A state's flows in this host's own numbers: OpenFlow ports, conntrack zones, conjunctions."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from msgspec import Struct, field

from netloom.dataplane.ovs.allocator import Allocator
from netloom.dataplane.ovs.openflow import cookie
from netloom.model import openflow as of
from netloom.model.hoststate import Flow, HostState, Interface, Key
from netloom.render.openflow import Unresolved, flow_text


class Flows(Struct, frozen=True):
    """`texts`: bridge → cookie → text. `keys`: cookie → the flow's key. `missing`: flow → the device that it waits for.

    `refused`: flow → why it cannot be written at all.
    `used`: kind → the names that have a number of the allocator's.
    """

    texts: dict[str, dict[int, str]] = field(default_factory=dict[str, dict[int, str]])
    keys: dict[int, Key] = field(default_factory=dict[int, Key])
    missing: dict[Key, str] = field(default_factory=dict[Key, str])
    refused: dict[Key, str] = field(default_factory=dict[Key, str])
    used: dict[str, set[str]] = field(default_factory=dict[str, set[str]])


def number_flows(state: HostState, ports: Mapping[str, int], allocator: Allocator) -> Flows:
    """Write all flows in numbers; `ports`: device → its number in the switch."""

    def resolve(kind: str, name: str) -> str | None:
        if kind == "port":
            number = ports.get(name)
            return None if number is None else str(number)
        return str(allocator.number(kind, name))

    flows = Flows(used={"zone": _zones_of_ports_down(state, allocator), "conj": set()})
    for flow in state.each(Flow):
        for kind, name in symbols(flow):
            flows.used[kind].add(name)
        try:
            text = flow_text(flow, resolve)
        except Unresolved as missing:
            flows.missing[flow.key] = missing.name
            continue
        except ValueError as error:
            flows.refused[flow.key] = f"a flow is left out: {error}"
            continue
        number = cookie(text)
        flows.texts.setdefault(flow.bridge, {})[number] = text
        flows.keys[number] = flow.key
    return flows


def _zones_of_ports_down(state: HostState, allocator: Allocator) -> set[str]:
    """What is known of their connections is still right when they are up again."""
    shut = {flow.match.in_port for flow in state.each(Flow) if not flow.actions}
    ports = {
        item.external_ids.get("iface-id", "") for item in state.each(Interface) if item.name in shut
    }
    return ports & allocator.names("zone")


def symbols(flow: Flow) -> Iterable[tuple[str, str]]:
    """The symbols of a flow that get their number from the allocator: (kind, name)."""
    if flow.match.conj is not None:
        yield "conj", flow.match.conj
    for action in flow.actions:
        if isinstance(action, of.Ct):
            yield "zone", action.zone
        elif isinstance(action, of.Conjunction):
            yield "conj", action.name
