"""A DHCP server's files as dnsmasq reads them.

dnsmasq reads a line in pieces of MAXDNAME (1025) bytes: what is longer goes on as a line of its own, with a meaning of
its own. A longer line is never written. It guesses what an option's value is; so a value is written in the one form that
leaves nothing to guess: addresses, numbers and bytes as such, text in quotation marks.
"""

from __future__ import annotations

import ipaddress
import re

from netloom.model.advertising import Advertiser
from netloom.model.dhcp_options import MOST_BYTES, DhcpValue
from netloom.model.family import V6, of
from netloom.model.hoststate import Dnsmasq
from netloom.render import values
from netloom.render.values import Unwritable

MOST_LINE = 1000
"""Bytes of a line; dnsmasq's buffer takes 1023 and the line's end."""

MOST_PATH = 900
SECONDS = (58, 59)
"""Options (T1, T2) that dnsmasq reads as a time, whatever form they have."""


DECLINED = "declined"
"""Tag of a message that declines an address (option 53 is 4). Such a message meets no lease: the server would hold a
client's only address back for ten minutes."""
_TAG = re.compile(r"!?[A-Za-z0-9_.-]{1,48}")


def dnsmasq_conf(server: Dnsmasq, directory: str) -> str:
    """Dnsmasq's configuration; its `hosts` and `opts` lie in `directory` and are read again on SIGHUP.

    Clients are known by their MAC address alone: a client identifier is the client's own word, and anybody can say it.
    """
    lines = [
        "port=0",
        f"interface={values.device(server.device)}",
        "except-interface=lo",
        "bind-interfaces",
        "no-hosts",
        "no-resolv",
        "no-ping",
        "leasefile-ro",
        "dhcp-authoritative",
        "dhcp-ignore-clid",
        "dhcp-match=set:ipxe,175",
        f"dhcp-match=set:{DECLINED},53,4b",
        f"domain={values.domain(server.domain)}",
        f"dhcp-option-force=tag:!own-26,26,{values.number(server.mtu, 65535)}",
        f"dhcp-hostsfile={_quoted(f'{directory}/hosts', MOST_PATH)}",
        f"dhcp-optsfile={_quoted(f'{directory}/opts', MOST_PATH)}",
        f"pid-file={_quoted(f'{directory}/pid', MOST_PATH)}",
    ]
    for served in server.ranges:
        family = of(served.cidr)
        try:
            network = ipaddress.ip_network(values.network(served.cidr, family))
        except ValueError:
            raise Unwritable(f"{family.ethertype} network", served.cidr) from None
        length = network.prefixlen if family is V6 else network.netmask
        lines.append(
            f"dhcp-range=set:subnet-{values.word(served.subnet_id)},{network.network_address},static,"
            f"{length},{values.number(server.lease_seconds, 1 << 31)}s"
        )
    return _text(lines)


def dnsmasq_hosts(server: Dnsmasq) -> str:
    """The static leases, one a line. A port with options of its own gets a tag for itself and each of them.

    The name is written with its domain, which no address, time or keyword ends in; clients hear it without.
    """
    domain = values.domain(server.domain)
    lines: list[str] = []
    for lease in server.leases:
        own = "".join(f"set:own-{code}," for code in sorted(_own_codes(lease.options)))
        tag = f"set:port-{values.word(lease.port_id)}," if lease.options else ""
        name = f"{values.host_name(lease.hostname)}.{domain}"
        head = f"{values.mac(lease.mac)},tag:!{DECLINED}"
        lines.append(f"{head},{tag}{own}{values.ipv4(lease.ip)},{name}")
    for given in server.leases6:
        addresses = ",".join(f"[{values.address(each, V6)}]" for each in given.addresses)
        lines.append(f"{values.mac(given.mac)},{addresses}")
    return _text(lines)


def dnsmasq_opts(server: Dnsmasq) -> str:
    """The options of subnets and ports. A port's own option replaces the subnet's of that number."""
    overridden = {code for lease in server.leases for code in _own_codes(lease.options)}
    lines: list[str] = []
    for served in server.ranges:
        tag = f"tag:subnet-{values.word(served.subnet_id)}"
        if of(served.cidr) is V6:
            lines += [f"{tag},{_option6(option)}" for option in served.options]
            continue
        for option in served.options:
            unless = f",tag:!own-{option.code}" if option.code in overridden else ""
            lines.append(f"{tag}{unless},{_option(option)}")
    for lease in server.leases:
        lines += [f"tag:port-{values.word(lease.port_id)},{_option(o)}" for o in lease.options]
    return _text(lines)


_KINDS_OF_RANGE = {
    "slaac": "ra-only",
    "dhcpv6-stateless": "ra-stateless",
    "dhcpv6-stateful": "static",
}
ADVERTISE_SECONDS, ROUTER_SECONDS, PREFIX_SECONDS = 60, 1800, 86400
"""How often a router says unasked that it is there; how long that counts; how long its prefixes do."""


def advertiser_conf(item: Advertiser, directory: str) -> str:
    """The configuration of the dnsmasq that sends a router's advertisements and does nothing else.

    Of a range whose addresses DHCPv6 gives it says just that (M and O): nobody's request reaches it here.
    """
    lines = [
        "port=0",
        "except-interface=lo",
        "bind-interfaces",
        "no-hosts",
        "no-resolv",
        "no-ping",
        "leasefile-ro",
        "enable-ra",
        "quiet-ra",
        f"pid-file={_quoted(f'{directory}/pid', MOST_PATH)}",
    ]
    for link in item.links:
        device, mtu = values.device(link.device), values.number(link.mtu, 65535)
        lines += [
            f"interface={device}",
            f"ra-param={device},mtu:{mtu},{ADVERTISE_SECONDS},{ROUTER_SECONDS}",
        ]
        for prefix in link.prefixes:
            address, _, length = values.network(prefix.cidr, V6).partition("/")
            kind = _KINDS_OF_RANGE.get(prefix.mode)
            if kind is None:
                raise Unwritable("mode of advertisements", prefix.mode)
            lines.append(f"dhcp-range={address},{kind},{length},{PREFIX_SECONDS}s")
        servers = dict.fromkeys(server for prefix in link.prefixes for server in prefix.dns)
        if servers:
            named = ",".join(f"[{values.address(server, V6)}]" for server in servers)
            lines.append(f"dhcp-option=tag:{device},option6:dns-server,{named}")
    return _text(lines)


def _option6(option: DhcpValue) -> str:
    """An option of DHCPv6."""
    said = [f"[{values.address(address, V6)}]" for address in option.addresses]
    said += [values.domain(name) for name in option.names]
    return ",".join((f"option6:{values.number(option.code, 65535)}", *said))


def _own_codes(options: tuple[DhcpValue, ...]) -> set[int]:
    """Numbers of the options that a port has in any case: of those with tags, the server decides."""
    return {option.code for option in options if not option.tags}


def _option(option: DhcpValue) -> str:
    for tag in option.tags:
        if not _TAG.fullmatch(tag):
            raise Unwritable("tag", tag)
    head = "".join(f"tag:{tag}," for tag in option.tags) + str(values.number(option.code, 255))
    value = _value(option)
    return f"{head},{value}" if value else head


def _value(option: DhcpValue) -> str:
    if option.addresses:
        return ",".join(values.ipv4(address) for address in option.addresses)
    if option.names:
        return ",".join(values.domain(name.replace("_", "-")) and name for name in option.names)
    if option.text:
        return _quoted(option.text)
    if len(option.data) > MOST_BYTES:
        raise Unwritable(f"option of at most {MOST_BYTES} bytes", option.data.hex())
    if option.code in SECONDS and len(option.data) == 4:
        seconds = int.from_bytes(option.data, "big")
        return "infinite" if seconds == (1 << 32) - 1 else str(seconds)
    if len(option.data) == 1:
        return f"{option.data[0]}b"
    return option.data.hex(":")


def _quoted(text: str, most: int = MOST_BYTES) -> str:
    """Text between quotation marks, where only `"` and `\\` mean anything to dnsmasq."""
    if not text.isprintable() or len(text.encode(errors="replace")) > most:
        raise Unwritable(f"text of at most {most} bytes", text)
    inside = text.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{inside}"'


def _text(lines: list[str]) -> str:
    return "".join(values.line(line, MOST_LINE) + "\n" for line in lines)
