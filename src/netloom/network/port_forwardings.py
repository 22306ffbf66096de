"""Port forwardings: single ports of a floating IP, each led to a port of a fixed address.

A floating IP that forwards ports stands for no port as a whole. Its router is found with the first port forwarding, as
for any floating IP, and is let go with the last.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from ipaddress import ip_address
from typing import Any
from uuid import uuid4

from msgspec.structs import replace
from neutron_lib import exceptions as lib
from neutron_lib.exceptions import l3

from netloom.contract.port_forwarding import PortHasBindingFloatingIP
from netloom.model import Context, FixedIP, FloatingIP, Port, PortForwarding, to_doc
from netloom.model.port_ranges import PORT_PROTOCOLS, Span, span_of
from netloom.network import forwarded, lookup
from netloom.network.floatingips import router_between
from netloom.store import Reader, Writer

_ENDS = ("internal_port_id", "internal_ip_address")
_EXTERNAL = ("external_port_range", "external_port")
_INTERNAL = ("internal_port_range", "internal_port")


def create(w: Writer, ctx: Context, attrs: dict[str, Any]) -> PortForwarding:
    """Forward ports of a floating IP."""
    fip = _floating_ip(w, attrs["floatingip_id"])
    external, internal = (_needed(attrs, names) for names in (_EXTERNAL, _INTERNAL))
    made = PortForwarding(
        id=str(uuid4()),
        project_id=fip.project_id,
        description=attrs["description"],
        floatingip_id=fip.id,
        router_id="",
        protocol=attrs["protocol"],
        internal_port_id=attrs["internal_port_id"],
        internal_ip_address=attrs["internal_ip_address"],
        **_ports(external, internal),
    )
    _check_ports(w, made, external, internal)
    _check_has_none(w, made)
    if fip.port_id:
        raise l3.FloatingIPPortAlreadyAssociated(
            port_id=made.internal_port_id,
            fip_id=fip.id,
            floating_ip_address=fip.floating_ip_address,
            fixed_ip=made.internal_ip_address,
            net_id=fip.floating_network_id,
        )
    made = _led(w, ctx, fip, made)
    if fip.router_id is None:
        w.update(replace(fip, router_id=made.router_id))
    else:
        w.bump(FloatingIP, fip.id)
    w.bump(Port, made.internal_port_id)
    return w.insert(made)


def update(w: Writer, ctx: Context, old: PortForwarding, attrs: dict[str, Any]) -> PortForwarding:
    """Change where ports lead, or which they are."""
    fip = _floating_ip(w, old.floatingip_id)
    plain = ("description", "protocol", *_ENDS)
    new = replace(old, **{name: attrs[name] for name in plain if name in attrs})
    external = _span(attrs, _EXTERNAL) or old.external
    internal = _span(attrs, _INTERNAL) or old.internal
    new = replace(new, **_ports(external, internal))
    if new.internal_port_id != old.internal_port_id:
        if "internal_ip_address" not in attrs:
            new = replace(new, internal_ip_address=_first_address(w, ctx, new.internal_port_id))
        _check_has_none(w, new)
        new = _led(w, ctx, fip, new)
    elif new.internal_ip_address != old.internal_ip_address:
        port = lookup.port(w, ctx, new.internal_port_id)
        if all(fixed.ip_address != new.internal_ip_address for fixed in port.fixed_ips):
            raise _bad(
                "The internal IP does not correspond to an address on the internal port, which has "
                f"fixed_ips {_fixed_ips(port.fixed_ips)}."
            )
        new = _led(w, ctx, fip, new)
    _check_ports(w, new, external, internal)
    if new == old:
        return old
    w.bump(FloatingIP, fip.id)
    w.bump(Port, new.internal_port_id)
    return w.update(new)


def delete(w: Writer, ctx: Context, old: PortForwarding) -> None:
    """Forward the ports no more."""
    forwarded.end(w, [old])


def show(r: Reader, ctx: Context, objs: Sequence[PortForwarding]) -> list[dict[str, Any]]:
    """Return port forwardings as the API shows them."""
    return [to_doc(forwarding) for forwarding in objs]


def _span(attrs: dict[str, Any], names: tuple[str, str]) -> Span | None:
    """Return the ports that a request asks for; None where it asks for none. As in Neutron the single port goes before."""
    several, one = (attrs.get(name) for name in names)
    if one is not None:
        return int(one), int(one)
    return span_of(str(several)) if several is not None else None


def _needed(attrs: dict[str, Any], names: tuple[str, str]) -> Span:
    """As `_span`; raises BadRequest where a request asks for no ports."""
    span = _span(attrs, names)
    if span is None:
        raise _bad(f"Either {names[1]} or {names[0]} must be specified.")
    return span


def _ports(external: Span, internal: Span) -> dict[str, Any]:
    """Return the fields that say these ports."""
    return {
        f"{side}_port{suffix}": value
        for side, (first, last) in (("external", external), ("internal", internal))
        for suffix, value in (
            ("", first if first == last else None),
            ("_range", f"{first}:{last}"),
        )
    }


def _floating_ip(w: Writer, id: str) -> FloatingIP:
    fip = w.get(FloatingIP, id)
    if fip is None:
        raise l3.FloatingIPNotFound(floatingip_id=id)
    return fip


def _check_ports(r: Reader, new: PortForwarding, external: Span, internal: Span) -> None:
    """Raise BadRequest where ports are taken already, or where as many do not lead to as many."""
    if new.protocol not in PORT_PROTOCOLS:
        those = ", ".join(sorted(PORT_PROTOCOLS))
        raise _bad(f"Protocol {new.protocol} has no ports; those that have are {those}.")
    width = internal[1] - internal[0]
    if width and width != external[1] - external[0]:
        raise _bad(
            "Invalid ranges of internal and/or external ports. The relation between internal and "
            "external ports must be N-N or 1-N."
        )
    inside = [
        (other.internal, internal, "internal_port_range")
        for other in r.list(PortForwarding, internal_port_id=new.internal_port_id)
        if other.id != new.id
        and other.protocol == new.protocol
        and other.internal_ip_address == new.internal_ip_address
    ]
    outside = [
        (other.external, external, "external_port_range")
        for other in forwarded.of_floating_ips(r, [new.floatingip_id])
        if other.id != new.id and other.protocol == new.protocol
    ]
    for existing, asked, name in (*inside, *outside):
        if existing[0] <= asked[1] and asked[0] <= existing[1]:
            raise _bad(
                f"There is a port collision with the {name}. The following ranges collide: "
                f"{existing[0]}:{existing[1]} and {asked[0]}:{asked[1]}."
            )


def _check_has_none(r: Reader, new: PortForwarding) -> None:
    """Raise PortHasBindingFloatingIP where the port has a floating IP of its own."""
    for fip in r.list(FloatingIP, port_id=new.internal_port_id):
        raise PortHasBindingFloatingIP(
            floating_ip_address=fip.floating_ip_address,
            fip_id=fip.id,
            port_id=new.internal_port_id,
            fixed_ip=new.internal_ip_address,
        )


def _first_address(r: Reader, ctx: Context, port_id: str) -> str:
    """Return the port's first IPv4 address; empty where it has none."""
    port = lookup.port(r, ctx, port_id)
    return next((f.ip_address for f in port.fixed_ips if ":" not in f.ip_address), "")


def _led(r: Reader, ctx: Context, fip: FloatingIP, new: PortForwarding) -> PortForwarding:
    """Return the port forwarding with the router that leads there. Raises BadRequest where none does."""
    port = lookup.port(r, ctx, new.internal_port_id)
    usable = [fixed for fixed in port.fixed_ips if ":" not in fixed.ip_address]
    if not usable:
        raise _bad(f"Requested internal port {port.id} must allocate an IPv4 address at least.")
    address = str(ip_address(new.internal_ip_address))
    fixed = next((fixed for fixed in usable if fixed.ip_address == address), None)
    if fixed is None:
        raise _bad(
            f"Requested internal IP address {address} is not suitable for internal neutron port "
            f"{port.id}, as its fixed_ips are {_fixed_ips(usable)}."
        )
    router = router_between(r, fixed.subnet_id, fip.floating_network_id)
    if router is None:
        raise _bad(
            f"External network {fip.floating_network_id} is not reachable from subnet "
            f"{fixed.subnet_id}. Cannot set Port forwarding for port {port.id} with Floating IP {fip.id}."
        )
    if fip.router_id and fip.router_id != router.id:
        raise _bad(
            f"The Floating IP {fip.id} had been set on router {fip.router_id}, the internal Neutron "
            f"port {port.id} can not reach it."
        )
    return replace(new, router_id=router.id, internal_ip_address=address)


def _fixed_ips(fixed_ips: Collection[FixedIP]) -> list[dict[str, str]]:
    return [to_doc(fixed) for fixed in fixed_ips]


def _bad(message: str) -> lib.BadRequest:
    # The library's sentence ends with a full stop of its own.
    return lib.BadRequest(resource="port_forwarding", msg=message.removesuffix("."))
