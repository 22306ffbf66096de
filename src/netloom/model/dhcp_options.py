"""DHCP options as values of their types: what an option of the API means, before any program reads it.

A value of a user becomes a `DhcpValue` here, or is refused with a reason. The meaning of a value is the one that
Neutron's agent gives it through dnsmasq: options with a known type are read as that type; all others are bytes
(`0a:ff`), a number, IPv4 addresses, or else text. Numbers, names and types are of RFC 2132 and IANA's registry.
"""

from __future__ import annotations

import ipaddress
import re

from msgspec import Struct

MOST_BYTES = 255
"""Longest value of one option: its length is one byte (RFC 2132)."""

SERVER_IP_ADDRESS = 255
"""No option, but the field `siaddr` (the «next server» of PXE); its name is `server-ip-address`."""

ADDRESSES, TEXT, NUMBER, SECONDS, NAMES, SIP, ANY = (
    "addresses", "text", "number", "seconds", "names", "sip", "any",
)  # fmt: skip

_TABLE = """
1 netmask addresses, 2 time-offset number4, 3 router addresses, 6 dns-server addresses, 7 log-server addresses,
9 lpr-server addresses, 13 boot-file-size number2, 15 domain-name text, 16 swap-server addresses, 17 root-path text,
18 extension-path text, 19 ip-forward-enable number1, 20 non-local-source-routing number1, 21 policy-filter addresses,
22 max-datagram-reassembly number2, 23 default-ttl number1, 26 mtu number2, 27 all-subnets-local number1,
31 router-discovery number1, 32 router-solicitation addresses, 33 static-route addresses,
34 trailer-encapsulation number1, 35 arp-timeout number4, 36 ethernet-encap number1, 37 tcp-ttl number1,
38 tcp-keepalive number4, 40 nis-domain text, 41 nis-server addresses, 42 ntp-server addresses, 44 netbios-ns addresses,
45 netbios-dd addresses, 46 netbios-nodetype number1, 47 netbios-scope any, 48 x-windows-fs addresses,
49 x-windows-dm addresses, 58 t1 seconds, 59 t2 seconds, 60 vendor-class any, 64 nis+-domain text,
65 nis+-server addresses, 66 tftp-server text, 67 bootfile-name text, 68 mobile-ip-home addresses,
69 smtp-server addresses, 70 pop3-server addresses, 71 nntp-server addresses, 74 irc-server addresses,
77 user-class any, 80 rapid-commit any, 93 client-arch number2, 94 client-interface-id any, 97 client-machine-id any,
100 posix-timezone text, 101 tzdb-timezone text, 108 ipv6-only number4, 119 domain-search names, 120 sip-server sip,
121 classless-static-route any, 125 vendor-id-encap any, 150 tftp-server-address addresses,
255 server-ip-address addresses
"""
_ROWS = [row.split() for row in _TABLE.replace("\n", " ").split(",")]

CODES: dict[str, int] = {name: int(code) for code, name, _ in _ROWS}
"""Name → number, as dnsmasq and Neutron's users spell them (case does not count)."""

_TYPES: dict[int, str] = {int(code): kind for code, _, kind in _ROWS} | {12: TEXT}
"""The host name (12) has no name here, as the server sets it; by its number a user may replace it."""

SET_BY_THE_SERVER = frozenset({28, 50, 51, 52, 53, 54, 55, 57, 61, 81, 82, 118})
"""Options that the DHCP server itself sets, or that clients send."""

CLIENT_ID = frozenset({"client-id", "61"})
"""Neutron takes it for another sign of the client; a lease here is found by the port's MAC address alone."""

_LABEL = re.compile(r"[A-Za-z0-9_]([A-Za-z0-9_-]{0,61}[A-Za-z0-9_])?")
_HEX = re.compile(r"[0-9A-Fa-f]{1,2}(:[0-9A-Fa-f]{1,2})+")
_NUMBER = re.compile(r"(\d{1,10})([bsi]?)")
_SECONDS = re.compile(r"(\d{1,10})([smhdw]?)", re.IGNORECASE)
_TAG = re.compile(r"!?[A-Za-z0-9_.-]{1,48}")
_UNIT = {"": 1, "s": 1, "m": 60, "h": 3600, "d": 86400, "w": 604800}
_WIDTH = {"b": 1, "s": 2, "i": 4}


class Dhcp6Lease(Struct, frozen=True, kw_only=True):
    """The addresses that DHCPv6 gives to a port."""

    mac: str
    addresses: tuple[str, ...]
    port_id: str


class DhcpValue(Struct, frozen=True, kw_only=True):
    """One option to be sent. Of `addresses`, `text` and `names` at most one is set; else the value is `data`.

    `tags`: it is sent only to clients that the DHCP server has given all of these (`ipxe`), or not given (`!ipxe`).
    """

    code: int
    tags: tuple[str, ...] = ()
    addresses: tuple[str, ...] = ()
    text: str = ""
    names: tuple[str, ...] = ()
    data: bytes = b""


class Refused(ValueError):
    """The option cannot be sent; the text says why, for its user."""


def user_option(name: str, value: str) -> DhcpValue | None:
    """An extra DHCP option of a port (IPv4). None where it needs nothing to be sent (`client-id`).

    Raises Refused where DHCP has no such option, or the value is not of its type.
    """
    *tags, plain = name.strip().split(",")
    for tag in tags:
        if not tag.startswith("tag:") or not _TAG.fullmatch(tag[4:]):
            raise Refused(f"{tag[:64]!r} is no tag")
    plain = plain.strip().lower()
    if plain in CLIENT_ID:
        return None
    code = int(plain) if re.fullmatch(r"[0-9]{1,3}", plain) else CODES.get(plain, 0)
    if code in SET_BY_THE_SERVER:
        raise Refused("the DHCP server itself sets this option")
    if not 0 < code <= SERVER_IP_ADDRESS:
        raise Refused("DHCP has no option of this name")
    made = _of_type(code, _TYPES.get(code, ANY), _unquoted(value))
    return DhcpValue(
        code=code,
        tags=tuple(tag[4:] for tag in tags),
        addresses=made.addresses,
        text=made.text,
        names=made.names,
        data=made.data,
    )


def addresses_option(code: int, addresses: tuple[str, ...]) -> DhcpValue:
    """An option that holds IPv4 addresses; raises Refused where one is none, or they do not fit."""
    if len(addresses) * 4 > MOST_BYTES:
        raise Refused(f"more than {MOST_BYTES // 4} addresses do not fit in one option")
    return DhcpValue(code=code, addresses=tuple(_address(a) for a in addresses))


def route(destination: str, nexthop: str) -> bytes:
    """One route of option 121 (RFC 3442); a next hop of 0.0.0.0 is the link itself."""
    network = ipaddress.IPv4Network(destination, strict=False)
    significant = (network.prefixlen + 7) // 8
    head = bytes([network.prefixlen]) + network.network_address.packed[:significant]
    return head + ipaddress.IPv4Address(nexthop).packed


def _of_type(code: int, kind: str, value: str) -> DhcpValue:
    if not value and code != SERVER_IP_ADDRESS:
        return DhcpValue(code=code)
    if kind == ADDRESSES:
        return addresses_option(code, tuple(part.strip() for part in value.split(",")))
    if kind.startswith(NUMBER):
        return DhcpValue(code=code, data=_number(value, int(kind.removeprefix(NUMBER))))
    if kind == SECONDS:
        return DhcpValue(code=code, data=_seconds(value))
    if kind == SIP and re.fullmatch(r"[0-9.,]+", value):
        return addresses_option(code, tuple(value.split(",")))
    if kind in (NAMES, SIP):
        return _names(code, value)
    if kind == ANY:
        data = _bytes(value)
        if data is not None:
            if len(data) > MOST_BYTES:
                raise Refused(f"{len(data)} bytes do not fit in one option")
            return DhcpValue(code=code, data=data)
    return _text(code, value)


def _text(code: int, value: str) -> DhcpValue:
    if not value.isprintable():
        raise Refused("the value has characters that cannot be printed")
    if len(value.encode()) > MOST_BYTES:
        raise Refused(f"{len(value.encode())} bytes do not fit in one option")
    return DhcpValue(code=code, text=value)


def _address(text: str) -> str:
    try:
        return str(ipaddress.IPv4Address(text))
    except ValueError:
        raise Refused(f"{text[:64]!r} is no IPv4 address") from None


def _number(value: str, width: int) -> bytes:
    if _HEX.fullmatch(value) and value.count(":") == width - 1:
        return bytes(int(part, 16) for part in value.split(":"))
    found = _NUMBER.fullmatch(value)
    if found is None or int(found[1]) >= 1 << 8 * width:
        raise Refused(f"{value[:64]!r} is no number below {1 << 8 * width}")
    return int(found[1]).to_bytes(width, "big")


def _seconds(value: str) -> bytes:
    if value == "infinite":
        return b"\xff" * 4
    found = _SECONDS.fullmatch(value)
    number = int(found[1]) * _UNIT[found[2].lower()] if found else 1 << 32
    if number >= 1 << 32:
        raise Refused(f"{value[:64]!r} is no time in seconds")
    return number.to_bytes(4, "big")


def _names(code: int, value: str) -> DhcpValue:
    names = tuple(part.strip().rstrip(".") for part in value.split(","))
    for name in names:
        if not all(_LABEL.fullmatch(label) for label in name.split(".")):
            raise Refused(f"{name[:64]!r} is no domain name")
    if sum(len(name) + 2 for name in names) > MOST_BYTES:
        raise Refused("the domain names do not fit in one option")
    return DhcpValue(code=code, names=names)


def _bytes(value: str) -> bytes | None:
    """What a value of no known type says in bytes; None where it is text."""
    if _HEX.fullmatch(value):
        return bytes(int(part, 16) for part in value.split(":"))
    number = _NUMBER.fullmatch(value)
    if number is not None:
        amount = int(number[1])
        width = _WIDTH.get(number[2]) or (1 if amount < 1 << 8 else 2 if amount < 1 << 16 else 4)
        if amount >= 1 << 8 * width:
            raise Refused(f"{value} does not fit in {width} byte(s)")
        return amount.to_bytes(width, "big")
    return _descriptors(value)


def _descriptors(value: str) -> bytes | None:
    """IPv4 addresses, and networks as the destinations of option 121: `10.0.0.0/8,192.0.2.1`."""
    data = b""
    for part in value.split(","):
        address, slash, length = part.partition("/")
        try:
            packed = ipaddress.IPv4Address(address).packed
        except ValueError:
            return None
        if not slash:
            data += packed
        elif re.fullmatch(r"[0-9]{1,2}", length) and int(length) <= 32:
            data += bytes([int(length)]) + packed[: (int(length) + 7) // 8]
        else:
            return None
    return data


_ESCAPES = {"t": "\t", "n": "\n", "b": "\b", "e": "\x1b", "r": "\r", '"': '"', "\\": "\\"}


def _unquoted(value: str) -> str:
    """The value without its quotation marks, which dnsmasq takes away: a user of Neutron may have written them."""
    if '"' not in value:
        return value.strip()
    out: list[str] = []
    inside = False
    rest = iter(value.strip())
    for character in rest:
        if character == '"':
            inside = not inside
        elif character == "\\" and inside:
            following = next(rest, "")
            out.append(_ESCAPES.get(following, "\\" + following))
        else:
            out.append(character)
    if inside:
        raise Refused('a quotation mark (") has no second one')
    return "".join(out)
