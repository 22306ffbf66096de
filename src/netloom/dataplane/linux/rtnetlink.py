"""Route netlink in the calling thread's namespace: what an agent asks and changes by the thousand, without waiting in between.

pyroute2 runs an event loop for every request, which costs a millisecond each; a router of two networks takes some hundred. What is not here goes to
pyroute2, by the same names: `Netlink` opens one of its sockets when it is asked for the first such thing. Messages are as pyroute2 gives them, with the attributes
of `_Sort` alone: asking one for another attribute is a KeyError, so that nothing is taken for absent that was not read.
"""

from __future__ import annotations

import errno
import itertools
import os
import socket
import struct
from collections.abc import Callable, Iterator
from ipaddress import ip_address, ip_network
from typing import Any

from pyroute2 import IPRoute
from pyroute2.netlink.exceptions import NetlinkError

_HEADER = struct.Struct("=IHHII")
_ATTRIBUTE = struct.Struct("=HH")
_ERROR, _DONE = 2, 3
_REQUEST, _ACK, _DUMP = 0x1, 0x4, 0x300
_REPLACE, _EXCL, _CREATE = 0x100, 0x200, 0x400
_PORT_BITS = 22
"""The port of a socket is the number of the process, and a number of its own above these bits (as of pyroute2: `watch.py` knows ours by it)."""
_ports = itertools.count(512)
_UP = 1
_BUFFER = 1 << 18

Decode = Callable[[bytes], Any]


def _text(value: bytes) -> str:
    return value.rstrip(b"\0").decode("utf-8", "replace")


def _mac(value: bytes) -> str:
    return value.hex(":")


def _number(value: bytes) -> int:
    return int.from_bytes(value, "little")


def _address(value: bytes) -> str:
    return str(ip_address(value)) if len(value) in (4, 16) else value.hex(":")


def _info(value: bytes) -> dict[str, str]:
    kind = next((part for number, part in _attributes(value) if number == 1), b"")
    return {"kind": _text(kind)}


class _Sort:
    """Messages of one sort: their fixed part, and the attributes that are read: number → name, how."""

    def __init__(
        self, new: int, layout: str, names: str, attributes: dict[int, tuple[str, Decode]]
    ) -> None:
        self.new, self.delete, self.get = new, new + 1, new + 2
        self.fixed = struct.Struct(layout)
        self.names = names.split()
        self.attributes = attributes
        self.known = {name for name, _ in attributes.values()}


_LINK = _Sort(
    16,
    "=BxHiII",
    "family ifi_type index flags change",
    {
        1: ("address", _mac),
        2: ("broadcast", _mac),
        3: ("ifname", _text),
        4: ("mtu", _number),
        5: ("link", _number),
        10: ("master", _number),
        16: ("operstate", _number),
        18: ("linkinfo", _info),
        20: ("ifalias", _text),
        47: ("carrier_up_count", _number),
        48: ("carrier_down_count", _number),
    },
)
_ADDR = _Sort(
    20,
    "=BBBBI",
    "family prefixlen flags scope index",
    {
        1: ("address", _address),
        2: ("local", _address),
        3: ("label", _text),
        4: ("broadcast", _address),
    },
)
_ROUTE = _Sort(
    24,
    "=BBBBBBBBI",
    "family dst_len src_len tos table proto scope type flags",
    {
        1: ("dst", _address),
        4: ("oif", _number),
        5: ("gateway", _address),
        6: ("priority", _number),
        7: ("prefsrc", _address),
        15: ("table", _number),
    },
)
_NEIGH = _Sort(
    28,
    "=BxxxiHBB",
    "family ifindex state flags ndm_type",
    {1: ("dst", _address), 2: ("lladdr", _mac)},
)
_RULE = _Sort(
    32,
    "=BBBBBxxBI",
    "family dst_len src_len tos table action flags",
    {
        1: ("dst", _address),
        2: ("src", _address),
        3: ("iifname", _text),
        6: ("priority", _number),
        10: ("fwmark", _number),
        15: ("table", _number),
        17: ("oifname", _text),
    },
)


def _mac_bytes(value: str) -> bytes:
    return bytes.fromhex(value.replace(":", ""))


def _word(value: int) -> bytes:
    return struct.pack("=I", value)


_SET: dict[str, tuple[int, Callable[[Any], bytes]]] = {
    "address": (1, _mac_bytes),
    "mtu": (4, _word),
    "ifname": (3, lambda value: value.encode() + b"\0"),
    "ifalias": (20, lambda value: value.encode()),
    "net_ns_pid": (19, _word),
    "net_ns_fd": (28, _word),
}
"""What of a device is set here: name → attribute, how it is written."""


class Message(dict[str, Any]):
    """One answer: its fixed part and its attributes by name."""

    def __init__(self, sort: _Sort, data: bytes) -> None:
        super().__init__(zip(sort.names, sort.fixed.unpack_from(data), strict=True))
        self._known = sort.known
        for kind, value in _attributes(data[sort.fixed.size :]):
            if kind in sort.attributes:
                name, decode = sort.attributes[kind]
                self[name] = decode(value)

    def get(self, key: str, default: Any = None) -> Any:
        """A field or an attribute; the default where the kernel did not say it."""
        if key not in self and key not in self._known:
            raise KeyError(f"{key} is not read by rtnetlink.py")
        return super().get(key, default)


def _attributes(data: bytes) -> Iterator[tuple[int, bytes]]:
    at = 0
    while at + 4 <= len(data):
        size, kind = _ATTRIBUTE.unpack_from(data, at)
        if size < 4:
            return
        yield kind & 0x3FFF, data[at + 4 : at + size]
        at += (size + 3) & ~3


def _packed(attributes: list[tuple[int, bytes]]) -> bytes:
    return b"".join(
        _ATTRIBUTE.pack(len(value) + 4, kind) + value + b"\0" * (-len(value) % 4)
        for kind, value in attributes
    )


class Netlink:
    """A socket; `close` it."""

    def __init__(self) -> None:
        self._socket = socket.socket(
            socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, socket.NETLINK_ROUTE
        )
        self._bind()
        self._sequence = 0
        self._slow: Any = None

    def _bind(self) -> None:
        for _ in range(1024):
            port = (os.getpid() & ((1 << _PORT_BITS) - 1)) | (
                512 + next(_ports) % 512
            ) << _PORT_BITS
            try:
                self._socket.bind((port, 0))
                return
            except OSError as error:
                if error.errno != errno.EADDRINUSE:
                    raise
        raise OSError(errno.EADDRINUSE, "no netlink port is free")

    def close(self) -> None:
        """Close it; an open one keeps its namespace alive."""
        self._socket.close()
        if self._slow is not None:
            self._slow.close()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._other(), name)

    def _other(self) -> Any:
        if self._slow is None:
            self._slow = IPRoute()
        return self._slow

    # --- asking --------------------------------------------------------------------------------

    def get_links(self, index: int | None = None) -> list[Message]:
        """All devices, or one."""
        fixed = _LINK.fixed.pack(0, 0, index or 0, 0, 0)
        return self._ask(_LINK, fixed, dump=index is None)

    def link_lookup(self, **wanted: Any) -> list[int]:
        """Indexes of the devices with this name."""
        if set(wanted) != {"ifname"}:
            return self._other().link_lookup(**wanted)
        body = _LINK.fixed.pack(0, 0, 0, 0, 0) + _packed([(3, wanted["ifname"].encode() + b"\0")])
        try:
            found = self._ask(_LINK, body, dump=False)
        except NetlinkError as error:
            if error.code in (errno.ENODEV, errno.ERANGE, errno.EINVAL):
                return []
            raise
        return [item["index"] for item in found]

    def get_addr(self, family: int = 0, **wanted: Any) -> list[Message]:
        """Addresses, those that meet all of `wanted`."""
        return _that(self._ask(_ADDR, _ADDR.fixed.pack(family, 0, 0, 0, 0)), wanted)

    def get_routes(self, family: int = socket.AF_INET, **wanted: Any) -> list[Message]:
        """Routes of all tables, those that meet all of `wanted`."""
        return _that(self._ask(_ROUTE, _ROUTE.fixed.pack(family, *(0,) * 8)), wanted)

    def get_neighbours(self, family: int = socket.AF_INET, **wanted: Any) -> list[Message]:
        """What is known of neighbours, that meets all of `wanted`."""
        return _that(self._ask(_NEIGH, _NEIGH.fixed.pack(family, 0, 0, 0, 0)), wanted)

    def get_rules(self, family: int = socket.AF_INET, **wanted: Any) -> list[Message]:
        """Policy rules, those that meet all of `wanted`."""
        return _that(self._ask(_RULE, _RULE.fixed.pack(family, *(0,) * 6)), wanted)

    def _ask(self, sort: _Sort, body: bytes, *, dump: bool = True) -> list[Message]:
        found = self._talk(sort.get, _REQUEST | (_DUMP if dump else 0), body)
        return [Message(sort, data) for kind, data in found if kind == sort.new]

    # --- changing ------------------------------------------------------------------------------

    def link(self, command: str, **how: Any) -> Any:
        """Set or delete a device; pyroute2 does the rest."""
        index, state = how.get("index"), how.get("state")
        rest = how.keys() - {"index", "state"}
        if not index or not rest <= _SET.keys() or command not in ("set", "del"):
            return self._other().link(command, **how)
        change = 0 if state is None else _UP
        flags = _UP if state == "up" else 0
        body = _LINK.fixed.pack(0, 0, index, flags, change)
        body += _packed([(_SET[name][0], _SET[name][1](how[name])) for name in sorted(rest)])
        # As of old: a device is not made where there is none.
        self._do(_LINK.delete if command == "del" else _LINK.new, 0, body)
        return None

    def addr(self, command: str, **how: Any) -> Any:
        """Add, replace or delete an address of a device."""
        known = {"index", "address", "prefixlen", "broadcast"}
        if how.keys() - known or how.get("broadcast") not in (None, True):
            return self._other().addr(command, **how)
        address = ip_address(how["address"])
        packed, length = address.packed, how["prefixlen"]
        family = socket.AF_INET if address.version == 4 else socket.AF_INET6
        attributes = [(1, packed), (2, packed)]
        if how.get("broadcast"):
            whole = ip_network(f"{address}/{length}", strict=False)
            attributes.append((4, whole.broadcast_address.packed))
        body = _ADDR.fixed.pack(family, length, 0, 0, how["index"]) + _packed(attributes)
        self._do(*_verb(_ADDR, command), body)
        return None

    def flush_addr(self, index: int) -> None:
        """Take all addresses of a device away."""
        for item in self.get_addr(index=index):
            address = item.get("local") or item.get("address")
            try:
                self.addr("del", index=index, address=address, prefixlen=item["prefixlen"])
            except NetlinkError as error:
                # The first address of a subnet takes the others with it.
                if error.code != errno.EADDRNOTAVAIL:
                    raise

    def route(self, command: str, **how: Any) -> Any:
        """Add, replace or delete an IPv4 or IPv6 route of the main table."""
        known = {"dst", "oif", "gateway", "proto", "scope", "type", "prefsrc", "priority", "table"}
        dst = how.get("dst")
        if how.keys() - known or not isinstance(dst, str) or dst == "default":
            return self._other().route(command, **how)
        network = ip_network(dst)
        deletes = command == "del"
        numbers = {4: "oif", 6: "priority", 15: "table"}
        attributes = [(1, network.network_address.packed)] if network.prefixlen else []
        attributes += [(kind, _word(how[name])) for kind, name in numbers.items() if how.get(name)]
        attributes += [
            (kind, ip_address(how[name]).packed)
            for kind, name in ((5, "gateway"), (7, "prefsrc"))
            if how.get(name)
        ]
        body = _ROUTE.fixed.pack(
            socket.AF_INET if network.version == 4 else socket.AF_INET6,
            network.prefixlen,
            0,
            0,
            min(how.get("table", 254), 255) if how.get("table", 254) < 256 else 0,
            how.get("proto", 0 if deletes else 4),
            how.get("scope", 255 if deletes else 0),
            how.get("type", 0 if deletes else 1),
            0,
        )
        self._do(*_verb(_ROUTE, command), body + _packed(attributes))
        return None

    def flush_routes(self, family: int = socket.AF_INET, **wanted: Any) -> None:
        """Take the routes away that meet all of `wanted`."""
        for item in self.get_routes(family, **wanted):
            where = {
                name: item.get(name)
                for name in ("oif", "gateway", "priority", "table", "proto", "scope", "type")
                if item.get(name) is not None
            }
            any_ = "0.0.0.0" if family == socket.AF_INET else "::"
            try:
                self.route("del", dst=f"{item.get('dst') or any_}/{item['dst_len']}", **where)
            except NetlinkError as error:
                if error.code != errno.ESRCH:  # it went with another one
                    raise

    def neigh(self, command: str, **how: Any) -> Any:
        """Add, replace or delete what is known of a neighbour."""
        if how.keys() - {"dst", "ifindex", "lladdr", "state"}:
            return self._other().neigh(command, **how)
        address = ip_address(how["dst"])
        family = socket.AF_INET if address.version == 4 else socket.AF_INET6
        attributes = [(1, address.packed)]
        if how.get("lladdr"):
            attributes.append((2, _mac_bytes(how["lladdr"])))
        body = _NEIGH.fixed.pack(family, how["ifindex"], how.get("state", 0), 0, 0)
        self._do(*_verb(_NEIGH, command), body + _packed(attributes))
        return None

    def _do(self, kind: int, flags: int, body: bytes) -> None:
        self._talk(kind, _REQUEST | _ACK | flags, body)

    # --- the wire ------------------------------------------------------------------------------

    def _talk(self, kind: int, flags: int, body: bytes) -> list[tuple[int, bytes]]:
        """Send a request; return the messages of the answer. Raises NetlinkError where the kernel refuses."""
        self._sequence += 1
        head = _HEADER.pack(_HEADER.size + len(body), kind, flags, self._sequence, 0)
        self._socket.send(head + body)
        found: list[tuple[int, bytes]] = []
        many = flags & _DUMP == _DUMP and not flags & _ACK
        while True:
            data = self._socket.recv(_BUFFER)
            at = 0
            while at + _HEADER.size <= len(data):
                size, said, _, sequence, _ = _HEADER.unpack_from(data, at)
                part = data[at + _HEADER.size : at + size]
                at += (size + 3) & ~3
                if sequence != self._sequence:
                    continue
                if said == _ERROR:
                    code = -struct.unpack_from("=i", part)[0]
                    if code:
                        raise NetlinkError(code, os.strerror(code))
                    return found
                if said == _DONE:
                    return found
                found.append((said, part))
            if found and not many:
                return found


def _verb(sort: _Sort, command: str) -> tuple[int, int]:
    """What a command is called, and its flags."""
    if command == "del":
        return sort.delete, 0
    return sort.new, _CREATE | {"add": _EXCL, "replace": _REPLACE}[command]


def _that(found: list[Message], wanted: dict[str, Any]) -> list[Message]:
    if not wanted:
        return found
    return [item for item in found if all(item.get(k) == value for k, value in wanted.items())]
