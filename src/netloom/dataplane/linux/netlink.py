"""Small netlink steps in the calling thread's namespace (`rtnetlink.py`).

Each `open_netlink()` is a socket of its own, closed at the end of its block: an open one would keep its
namespace alive.
"""

from __future__ import annotations

import array
import fcntl
import socket
import struct
from collections.abc import Generator, Iterable
from contextlib import contextmanager, suppress
from ipaddress import IPv4Address, IPv6Address
from typing import Any

from msgspec import Struct
from pyroute2.netlink.exceptions import NetlinkError

from netloom.dataplane.linux.rtnetlink import Netlink
from netloom.dataplane.process import ApplyError

UP, LOWER_UP = 0x1, 0x10000
"""IFF_UP and IFF_LOWER_UP: somebody put the device up; it has a carrier."""
_SIOCETHTOOL = 0x8946
_ETHTOOL_STXCSUM = 0x17


@contextmanager
def open_netlink() -> Generator[Any]:
    """A route netlink socket; its errors come out as ApplyError."""
    link = Netlink()
    try:
        yield link
    except NetlinkError as error:
        # pyroute2's text is «(errno, 'strerror')»
        raise ApplyError(f"netlink: {error.args[1] if len(error.args) > 1 else error}") from error
    finally:
        link.close()


def link_names() -> dict[str, int]:
    """Devices of this namespace: name → index."""
    with open_netlink() as link:
        return {item.get("ifname"): item["index"] for item in link.get_links()}


class Link(Struct, frozen=True):
    """A device of the kernel.

    `state`: `up`, `down` (somebody put it down), `no link` (the other end is) or `no link yet` (the other end never was up).
    """

    state: str
    mtu: int


def links_by_name() -> dict[str, Link]:
    """Devices of this namespace."""
    with open_netlink() as link:
        return {
            item.get("ifname"): Link(_state(item), item.get("mtu")) for item in link.get_links()
        }


def _state(item: Any) -> str:
    if not item["flags"] & UP:
        return "down"
    if item["flags"] & LOWER_UP:
        return "up"
    # Counted by the kernel: a link that came and went between two looks, or two agents, is not overlooked.
    return "no link yet" if item.get("carrier_up_count") == 0 else "no link"


def _of_socket(address: str) -> socket.AddressFamily:
    """The socket family of an address."""
    return socket.AF_INET6 if ":" in address else socket.AF_INET


def _asked(address: str) -> dict[str, str]:
    """How the kernel is asked for an address: IPv6 addresses have no attribute `local`, only one `address`."""
    return {"address" if ":" in address else "local": address}


def holder_of(address: str) -> tuple[str, str] | None:
    """The device that has this address, and its kind (`veth`, `tun`, … empty for a card); None: none has."""
    with open_netlink() as link:
        for found in link.get_addr(family=_of_socket(address), **_asked(address)):
            for item in link.get_links(found["index"]):
                info = item.get("linkinfo")
                return item.get("ifname"), (info.get("kind") if info else None) or ""
    return None


def index_of(link: Any, name: str) -> int:
    """Index of a device; raises ApplyError where it is not there."""
    found = link.link_lookup(ifname=name)
    if not found:
        raise ApplyError(f"device {name} is not there")
    return int(found[0])


def delete_link(name: str) -> None:
    """Delete a device, if it is there."""
    with open_netlink() as link:
        for index in link.link_lookup(ifname=name):
            link.link("del", index=index)


def addresses_on(link: Any, index: int, family: int = socket.AF_INET) -> list[str]:
    """The IPv4 addresses of a device (or those of another family, 0 for all), each with the length of its prefix."""
    return [_cidr(item) for item in link.get_addr(family=family, index=index)]


def all_addresses(link: Any) -> set[tuple[str, str]]:
    """(device, address) of all IPv4 addresses of a namespace, each with the length of its prefix."""
    names = {item["index"]: item.get("ifname") for item in link.get_links()}
    found = link.get_addr(family=socket.AF_INET)
    return {(names[item["index"]], _cidr(item)) for item in found if item["index"] in names}


def _cidr(item: Any) -> str:
    return f"{item.get('address')}/{item['prefixlen']}"


def checksum_offload_off(name: str) -> None:
    """Let the kernel fill in checksums before a packet leaves by this device.

    The userspace datapath takes packets as they are: with offload on, TCP and UDP arrive broken.
    """
    value = array.array("B", struct.pack("II", _ETHTOOL_STXCSUM, 0))
    address, _ = value.buffer_info()
    request = struct.pack("16sP", name.encode(), address)
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as control:
        try:
            fcntl.ioctl(control, _SIOCETHTOOL, request)
        except OSError as error:
            raise ApplyError(
                f"cannot switch checksum offload off on {name}: {error.strerror}"
            ) from error


def arp_request(mac: str, address: str, wanted: str, *, answer_to_all: bool = False) -> bytes:
    """The frame in which `address` at `mac` asks who has `wanted`; who asks for itself announces itself (RFC 5227).

    `answer_to_all`: whoever has it answers by a broadcast, from which all switches learn where it is.
    """
    ours, everybody = bytes.fromhex(mac.replace(":", "")), b"\xff" * 6
    frame = everybody + ours + struct.pack("!HHHBBH", 0x0806, 1, 0x0800, 6, 4, 1)
    frame += everybody if answer_to_all else ours
    return frame + IPv4Address(address).packed + b"\x00" * 6 + IPv4Address(wanted).packed


def neighbour_advertisement(mac: str, address: str) -> bytes:
    """The frame in which `address` says to everybody that it is at `mac` (RFC 4861, 7.2.6), as gratuitous ARP does in IPv4."""
    ours, everybody = bytes.fromhex(mac.replace(":", "")), IPv6Address("ff02::1").packed
    own, override = IPv6Address(address).packed, 0x20000000
    said = struct.pack("!BBHI", 136, 0, 0, override) + own + b"\x02\x01" + ours
    pseudo = own + everybody + struct.pack("!II", len(said), 58)
    total = sum(struct.unpack(f"!{len(pseudo + said) // 2}H", pseudo + said))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    said = said[:2] + struct.pack("!H", ~total & 0xFFFF) + said[4:]
    head = struct.pack("!IHBB", 0x60000000, len(said), 58, 255) + own + everybody
    return b"\x33\x33\x00\x00\x00\x01" + ours + b"\x86\xdd" + head + said


def send_frame(device: str, frame: bytes, mark: int = 0) -> None:
    """Send one frame out of a device, as a packet with this mark."""
    with socket.socket(socket.AF_PACKET, socket.SOCK_RAW) as raw:
        try:
            if mark:
                raw.setsockopt(socket.SOL_SOCKET, socket.SO_MARK, struct.pack("=I", mark))
            raw.bind((device, 0))
            raw.send(frame)
        except OSError as error:
            raise ApplyError(f"cannot send on {device}: {error.strerror}") from error


def greet(addresses: Iterable[str]) -> None:
    """Have the kernel ask for the MACs of other hosts (a datagram to the discard port makes it).

    The userspace switch learns them from the answers; else it drops the first packet of each tunnel.
    """
    for address in addresses:
        # No route to it now, or no IPv6 in this kernel: the tunnel has none either.
        with suppress(OSError), socket.socket(_of_socket(address), socket.SOCK_DGRAM) as talk:
            talk.setblocking(False)
            talk.sendto(b"", (address, 9))
