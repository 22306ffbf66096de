"""Network namespaces and what stands in them: devices with their addresses, and routes.

A namespace is ours when its `lo` has the alias `netloom <fingerprint>`; everything in one of ours is
ours. Devices come from the host's own namespace, where Open vSwitch makes them.
"""

from __future__ import annotations

import ipaddress
import os
import socket
from collections.abc import Generator, Iterable, Mapping
from contextlib import contextmanager
from typing import Any

from msgspec import Struct, field

from netloom.dataplane.linux import neightable, netns
from netloom.dataplane.linux.netlink import (
    LOWER_UP,
    UP,
    addresses_on,
    arp_request,
    delete_link,
    index_of,
    neighbour_advertisement,
    open_netlink,
    send_frame,
)
from netloom.dataplane.linux.nsroutes import (
    CONNECTED_METRIC,
    FAMILIES,
    KERNEL,
    OF_LINK,
    foreign,
    not_connected,
    static,
)
from netloom.dataplane.mark import broken, fingerprint
from netloom.dataplane.process import ApplyError
from netloom.model.family import LINK_LOCAL, V4, link_local, of
from netloom.model.hoststate import Address, Device, Key, Namespace, NsRoute
from netloom.model.sysctls import FORWARD, NO_IPV6, of_devices, service, settings

_MARK = "netloom "
_UNANSWERED = 0x01 | 0x20
"""NUD_INCOMPLETE and NUD_FAILED."""
_PREFIXES = ("qrouter-", "qdhcp-", "snat-")


class Held(Struct, frozen=True):
    """What in one namespace another program (keepalived) adds and removes: it may be there or not.

    `links`: devices that it puts up and down. `addresses`: (device, address with the length of its prefix). `routes`: their
    destinations.
    """

    links: frozenset[str] = frozenset()
    addresses: frozenset[tuple[str, str]] = frozenset()
    routes: frozenset[str] = frozenset()

    @classmethod
    def of(cls, items: Iterable[Device | NsRoute]) -> Held:
        """What is held of these objects, all of one namespace."""
        devices = [item for item in items if isinstance(item, Device)]
        routes = [item for item in items if isinstance(item, NsRoute)]
        return cls(
            frozenset(d.name for d in devices if d.held_by != "agent"),
            frozenset(
                (d.name, a.cidr) for d in devices for a in d.addresses if a.held_by != "agent"
            ),
            frozenset(route.destination for route in routes if route.held_by != "agent"),
        )


NOTHING_HELD = Held()


class DeviceGone(ApplyError):
    """The switch's device is neither in its namespace nor in the host's own."""


def _known(item: Device) -> Device:
    """The part of a device that can be read back, in one order."""
    return Device(
        namespace=item.namespace,
        name=item.name,
        mac=item.mac.lower(),
        mtu=item.mtu,
        addresses=tuple(sorted(a for a in item.addresses if a.held_by == "agent")),
        held_by=item.held_by,
    )


def device_mark(item: Device) -> str:
    """The fingerprint by which `read` knows this device."""
    return fingerprint(_known(item))


class Seen(Struct):
    """What is in one namespace of ours, each object with its mark (`mark.broken` where it is not whole).

    `foreign`: what is not ours there and may lead packets elsewhere, in words.
    """

    namespace: dict[Key, str] = field(default_factory=dict[Key, str])
    devices: dict[Key, str] = field(default_factory=dict[Key, str])
    routes: dict[Key, str] = field(default_factory=dict[Key, str])
    neighbours: dict[Key, str] = field(default_factory=dict[Key, str])
    foreign: dict[Key, str] = field(default_factory=dict[Key, str])


def read(held: Mapping[str, Held]) -> dict[str, Seen]:
    """Our namespaces, and what is in each. `held`: namespace → what others hold there."""
    found: dict[str, Seen] = {}
    for name in netns.names():
        if name.startswith(_PREFIXES) and netns.exists(name):
            seen = read_namespace(name, held.get(name, NOTHING_HELD))
            if seen is not None:
                found[name] = seen
    return found


def is_ours(name: str) -> bool:
    """Whether a namespace is there and ours."""
    if not netns.exists(name):
        return False
    with netns.inside(name), open_netlink() as link:
        return (link.get_links(1)[0].get("ifalias") or "").startswith(_MARK)


def read_namespace(name: str, held: Held = NOTHING_HELD) -> Seen | None:
    """One namespace and all in it; None where it is not ours."""
    seen = Seen()
    with netns.inside(name), open_netlink() as link:
        links = {item["index"]: item for item in link.get_links()}
        loopback = next((item for item in links.values() if item.get("ifname") == "lo"), None)
        if loopback is None or not (loopback.get("ifalias") or "").startswith(_MARK):
            return None
        forward, ipv6, odd = _settings()
        here = Namespace(name=name, forward=forward == "1", ipv6=ipv6)
        for other in _as_well(here):
            if loopback.get("ifalias") == _MARK + fingerprint(other):
                # The kernel changes other settings with these: they are the ones that somebody has changed.
                odd = _changed(here, other)
                ipv6 = other.ipv6
        if not loopback["flags"] & UP:
            odd.append("lo was down")
        missing, more = _rules(link)
        odd += [f"the policy rule for table {table} was gone" for table in missing.values()]
        for words in more:
            seen.foreign["rule", name, words] = f"policy rule '{words}' in {name} is not Netloom's"
        whole = fingerprint(here)
        seen.namespace["namespace", name] = broken(", ".join(odd)) if odd else whole
        names = {i: item.get("ifname") for i, item in links.items()}
        addresses: dict[int, list[str]] = {}
        for item in link.get_addr():
            cidr = f"{item.get('address')}/{item['prefixlen']}"
            if (names.get(item["index"]), cidr) not in held.addresses:
                addresses.setdefault(item["index"], []).append(cidr)
        routes = [route for family in FAMILIES for route in link.get_routes(family=family)]
        for index, item in links.items():
            if item is loopback:
                continue
            own = _own_link_local(item.get("address") or "")
            there = addresses.get(index, [])
            silent = ipv6 and own not in there and item["flags"] & UP
            addresses[index] = [cidr for cidr in there if cidr != own]
            device = Device(
                namespace=name,
                name=item.get("ifname"),
                mac=item.get("address"),
                mtu=item.get("mtu"),
                addresses=tuple(map(Address, addresses.get(index, ()))),
                held_by="keepalived" if item.get("ifname") in held.links else "agent",
            )
            odd = _unsettled(of_devices(service(ipv6), [device.name], forward))
            odd += [f"its address {own} was gone"] if silent else []
            lost = not_connected(routes, index, addresses.get(index, ()))
            if device.held_by != "agent" and not item["flags"] & UP:
                pass  # a standby's
            elif not item["flags"] & UP:
                odd = [f"device {device.name} was down"]
            elif not item["flags"] & LOWER_UP:  # the switch no longer serves it
                odd = [f"device {device.name} had no carrier"]
            elif lost:
                odd += [f"the route of address {address} was gone" for address in lost]
            seen.devices[device.key] = broken(", ".join(odd)) if odd else device_mark(device)
        seen.routes = static(routes, name, names, held.routes)
        for words in foreign(routes, names, held.routes):
            seen.foreign["route", name, words] = f"route '{words}' in {name} is not Netloom's"
        seen.neighbours = {n.key: fingerprint(n) for n in neightable.read(link, name, names)}
    return seen


def read_ways(name: str, held: Held = NOTHING_HELD) -> Seen:
    """The routes and known neighbours in a namespace of ours, alone: what the kernel drops with a device's link."""
    with netns.inside(name), open_netlink() as link:
        names = {item["index"]: item.get("ifname") for item in link.get_links()}
        routes = [route for family in FAMILIES for route in link.get_routes(family=family)]
        beside = {n.key: fingerprint(n) for n in neightable.read(link, name, names)}
        return Seen(routes=static(routes, name, names, held.routes), neighbours=beside)


_RULES = {0: 255, 32766: 254, 32767: 253}
"""Policy rules of every namespace: priority → table."""


def _rules(link: Any) -> tuple[dict[int, int], list[str]]:
    """(priority → table of the kernel's own policy rules that are gone, all others in words)."""
    missing, more = dict(_RULES), list[str]()
    for item in link.get_rules(family=socket.AF_INET):
        priority, table = item.get("priority") or 0, item.get("table") or item["table"]
        plain = not (
            item.get("src") or item.get("dst") or item.get("fwmark") or item.get("iifname")
        )
        if plain and missing.get(priority) == table:
            del missing[priority]
        else:
            more.append(f"{priority}: {item.get('src') or 'all'} table {table}")
    return missing, more


def _settings() -> tuple[str, bool, list[str]]:
    """Whether this namespace forwards, whether it speaks IPv6, and which of its other settings are not as ours are, in words."""
    there = netns.read_sysctls([FORWARD, NO_IPV6])
    forward, ipv6 = there.get(FORWARD, "0"), there.get(NO_IPV6) == "0"
    return forward, ipv6, _unsettled(settings(service(ipv6), forward))


def _as_well(here: Namespace) -> Iterable[Namespace]:
    """The namespace as it would be with other values of the settings that differ from one to the next."""
    for forward, ipv6 in ((False, False), (False, True), (True, False), (True, True)):
        if (forward, ipv6) != (here.forward, here.ipv6):
            yield Namespace(name=here.name, forward=forward, ipv6=ipv6)


def _changed(here: Namespace, made: Namespace) -> list[str]:
    """Which settings are not as the namespace was made, in words."""
    pairs = (
        (FORWARD, int(here.forward), int(made.forward)),
        (NO_IPV6, int(not here.ipv6), int(not made.ipv6)),
    )
    return [f"net.{key} was {now} and not {then}" for key, now, then in pairs if now != then]


def _own_link_local(mac: str) -> str:
    """The address that the kernel gives a device with this MAC address, with its length; empty where it has none."""
    return f"{link_local(mac)}/{LINK_LOCAL.partition('/')[2]}" if len(mac) == 17 else ""


def _unsettled(wanted: Mapping[str, str]) -> list[str]:
    there = netns.read_sysctls(wanted)
    odd = {key: value for key, value in there.items() if value != wanted[key]}
    return [f"net.{key} was {value} and not {wanted[key]}" for key, value in odd.items()]


def ensure_namespace(item: Namespace) -> None:
    """Make the namespace if need be, and set its sysctls."""
    fresh = not netns.exists(item.name)
    if fresh:
        netns.create(item.name)
    with netns.inside(item.name), open_netlink() as link:
        alias = link.get_links(1)[0].get("ifalias") or ""
        if not fresh and not alias.startswith(_MARK):
            raise ApplyError(
                f"namespace {item.name} exists and is not Netloom's: remove or rename it"
            )
        link.link("set", index=1, state="up", ifalias=_MARK + fingerprint(item))
        netns.settle_sysctls(settings(service(item.ipv6), str(int(item.forward))))
        if not fresh:
            for priority, table in _rules(link)[0].items():
                link.rule("add", family=socket.AF_INET, priority=priority, table=table)


def remove_namespace(name: str) -> None:
    """Remove one of our namespaces."""
    if is_ours(name):
        netns.delete(name)


def ensure_device(item: Device) -> list[str]:
    """Move the device in if it is still outside, then make it as wanted; returns the addresses added.

    Raises DeviceGone where the switch has not made it yet, or somebody has deleted it.
    """
    with _namespace_file(item.namespace) as target:
        with netns.inside(item.namespace), open_netlink() as link:
            inside = link.link_lookup(ifname=item.name)
        with open_netlink() as link:
            outside = link.link_lookup(ifname=item.name)
        if inside and outside:
            # The switch was started again and has made the device anew; the old one is dead.
            with netns.inside(item.namespace), open_netlink() as link:
                link.link("del", index=inside[0])
        if not inside and not outside:
            raise DeviceGone(f"device {item.name} is not there")
        if outside:
            with open_netlink() as link:
                link.link("set", index=index_of(link, item.name), net_ns_fd=target)
    with netns.inside(item.namespace), open_netlink() as link:
        index = index_of(link, item.name)
        now = link.get_links(index)[0]
        if (now.get("address") or "").lower() != item.mac.lower():
            link.link("set", index=index, address=item.mac)
        if now.get("mtu") != item.mtu:
            link.link("set", index=index, mtu=item.mtu)
        there = netns.read_sysctls([FORWARD, NO_IPV6])
        forward, ipv6 = there.get(FORWARD, "0"), there.get(NO_IPV6) == "0"
        # Before it is up: a device may have been moved in before the namespace had its settings.
        netns.settle_sysctls(of_devices(service(ipv6), [item.name], forward))
        if not now["flags"] & UP and item.held_by == "agent":
            link.link("set", index=index, state="up")
        added = _set_addresses(link, index, item.addresses, item.mac, ipv6=ipv6)
        flags = link.get_links(index)[0]["flags"]
        # A device that is down, as a standby's may be, has no routes.
        own_addresses = [a.cidr for a in item.addresses if a.held_by == "agent" and flags & UP]
        routes = [r for family in FAMILIES for r in link.get_routes(family=family, oif=index)]
        for address in not_connected(routes, index, own_addresses):
            own = ipaddress.ip_interface(address)
            where: dict[str, Any] = {"dst": str(own.network), "oif": index}
            if of(address) is V4:
                where |= {"prefsrc": str(own.ip), "scope": OF_LINK}
            else:
                where |= {"priority": CONNECTED_METRIC}
            link.route("add", proto=KERNEL, **where)
        if not flags & LOWER_UP and (flags & UP or item.held_by == "agent"):
            raise ApplyError(
                f"device {item.name} has no carrier: ovs-vswitchd does not serve it (yet)"
            )
        return added


def _set_addresses(
    link: Any, index: int, addresses: Iterable[Address], mac: str, *, ipv6: bool
) -> list[str]:
    """Add and remove addresses, but those that others hold; returns those that were added.

    The one that an IPv6 device gives itself stays, and comes back where somebody took it away.
    """
    own = _own_link_local(mac)
    if ipv6 and link.get_links(index)[0]["flags"] & UP and own not in _all_on(link, index):
        ip, length = own.split("/")
        link.addr("replace", index=index, address=ip, prefixlen=int(length))
    held = {own, *(address.cidr for address in addresses if address.held_by != "agent")}
    wanted = [address.cidr for address in addresses if address.held_by == "agent"]
    before = set(_all_on(link, index)) - held
    for address in sorted(before - set(wanted)):
        if address in _all_on(link, index):
            ip, length = address.split("/")
            link.addr("del", index=index, address=ip, prefixlen=int(length))
    # The first address of a subnet takes the others with it.
    present = _all_on(link, index)
    for address in wanted:
        if address in present:
            continue
        ip, length = address.split("/")
        if length == "32" or of(ip) is not V4:
            link.addr("add", index=index, address=ip, prefixlen=int(length))
        else:
            link.addr("add", index=index, address=ip, prefixlen=int(length), broadcast=True)
    return [address for address in wanted if address not in before]


def _all_on(link: Any, index: int) -> list[str]:
    """The addresses of a device of all families."""
    return addresses_on(link, index, 0)


@contextmanager
def _namespace_file(name: str) -> Generator[int]:
    try:
        target = os.open(netns.DIRECTORY / name, os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError as error:
        raise ApplyError(f"there is no namespace {name}") from error
    try:
        yield target
    finally:
        os.close(target)


def remove_device(namespace: str, name: str) -> None:
    """Take a device's addresses away and put it down; it goes with its port in Open vSwitch."""
    if not netns.exists(namespace):
        return
    with netns.inside(namespace), open_netlink() as link:
        for index in link.link_lookup(ifname=name):
            link.flush_addr(index=index)
            link.link("set", index=index, state="down")


def delete_device(namespace: str, name: str) -> None:
    """Delete a device that no port of Open vSwitch belongs to (any more), if it is still there."""
    with netns.inside(namespace):
        delete_link(name)


def announce(item: Device, addresses: list[str]) -> None:
    """Say to everybody at which MAC address addresses of the device are: by gratuitous ARP, or a neighbour advertisement."""
    with netns.inside(item.namespace):
        for address in addresses:
            own = address.partition("/")[0]
            frame = arp_request(item.mac, own, own) if of(own) is V4 else None
            send_frame(item.name, frame or neighbour_advertisement(item.mac, own))


def ask_again(name: str) -> None:
    """Ask for every neighbour that has not answered yet: the kernel would wait a second before it does.

    It may have asked before the switch knew the device.
    """
    with netns.inside(name), open_netlink() as link:
        waiting = link.get_neighbours(family=socket.AF_INET)
        for item in waiting:
            if not item["state"] & _UNANSWERED:
                continue
            device = link.get_links(item["ifindex"])[0]
            wanted = ipaddress.IPv4Address(item.get("dst"))
            for own in map(ipaddress.IPv4Interface, addresses_on(link, item["ifindex"])):
                if wanted in own.network:
                    frame = arp_request(device.get("address"), str(own.ip), str(wanted))
                    send_frame(device.get("ifname"), frame)
                    break
