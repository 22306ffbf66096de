"""The bridges of a HostState without Open vSwitch as text that a person reads, each object with its origin."""

from __future__ import annotations

from collections.abc import Iterator

from netloom.model.filtering import (
    FarMember,
    FarSet,
    FdbEntry,
    GroupFilter,
    PortFilter,
)
from netloom.model.hoststate import Bridge, HostObject, HostState, Interface, Zone
from netloom.render.bridge_filter import chains_of, far_element, far_set_text, group_rules


def bridge_lines(state: HostState) -> Iterator[str]:
    """Bridges with their devices, then what is asked of frames and packets."""
    yield "== Linux bridges"
    for bridge in sorted(state.each(Bridge), key=lambda each: each.name):
        yield _line(f"bridge {bridge.name}", bridge)
        for item in sorted(state.each(Interface), key=lambda each: each.name):
            if item.bridge == bridge.name:
                words = " ".join(f"{name}={value}" for name, value in sorted(item.options.items()))
                waited = " (plugged by others)" if item.expected else ""
                said = f"  {item.name} {item.type} mtu={item.mtu} {words}".rstrip() + waited
                yield _line(said, item)
                for entry in state.each(FdbEntry):
                    if entry.device == item.name:
                        yield _line(f"    {entry.mac} is there{_to(entry)}", entry)
    for zone in sorted(state.each(Zone), key=lambda each: each.name):
        yield _line(f"conntrack zone of {zone.name}", zone)
    yield "-- filter"
    for item in sorted(state.each(FarSet), key=lambda each: each.name):
        yield _line(far_set_text(item), item)
        for member in sorted(state.each(FarMember), key=far_element):
            if member.name == item.name:
                yield _line(f"  {far_element(member)}", member)
    for group in sorted(state.each(GroupFilter), key=lambda each: each.chain):
        yield _line(f"chain inet {group.chain}", group)
        yield from (f"  {rule}" for rule in group_rules(group))
    for port in sorted(state.each(PortFilter), key=lambda each: each.device):
        yield _line(f"{port.device} has mark {port.mark:#x}", port)
        for (family, chain), rules in chains_of(port).items():
            yield f"  chain {family} {chain}"
            yield from (f"    {rule}" for rule in rules)


def _to(entry: FdbEntry) -> str:
    return f" (host {entry.to})" if entry.to else ""


def _line(text: str, item: HostObject) -> str:
    return f"{text}  # {' '.join(map(str, item.origin))}"
