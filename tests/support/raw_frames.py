"""Ethernet frames by hand: builders, and a program that sends or prints them (`send`, `listen DEVICE`).

Run as a program of its own in an instance's network namespace; standard library only.
"""

from __future__ import annotations

import socket
import struct
import sys
from ipaddress import IPv4Address, IPv6Address

BROADCAST = "ff:ff:ff:ff:ff:ff"
_EVERY_FRAME = 0x0003


def _mac(text: str) -> bytes:
    return bytes.fromhex(text.replace(":", ""))


def _checksum(data: bytes) -> int:
    words = struct.unpack(f"!{(len(data) + 1) // 2}H", data + b"\0" * (len(data) % 2))
    total = sum(words)
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return ~total & 0xFFFF


def ethernet(source: str, target: str, kind: int, payload: bytes) -> bytes:
    """A frame."""
    return _mac(target) + _mac(source) + struct.pack("!H", kind) + payload


def vlan(tag: int, frame: bytes) -> bytes:
    """The frame with an 802.1Q tag."""
    return frame[:12] + struct.pack("!HH", 0x8100, tag) + frame[12:]


def arp(
    source: str, target: str, operation: int, sha: str, spa: str, tpa: str, padding: bytes
) -> bytes:
    """An ARP message; the padding up to Ethernet's least length can carry a mark."""
    body = struct.pack("!HHBBH", 1, 0x0800, 6, 4, operation)
    body += _mac(sha) + IPv4Address(spa).packed + b"\0" * 6 + IPv4Address(tpa).packed
    return ethernet(source, target, 0x0806, body + padding.ljust(18, b"\0"))


def udp(
    macs: tuple[str, str], addresses: tuple[str, str], ports: tuple[int, int], payload: bytes
) -> bytes:
    """UDP over IPv4; pairs are (source, target)."""
    datagram = struct.pack("!HHHH", *ports, 8 + len(payload), 0) + payload
    ends = IPv4Address(addresses[0]).packed + IPv4Address(addresses[1]).packed
    head = struct.pack("!BBHHHBBH", 0x45, 0, 20 + len(datagram), 1, 0, 64, 17, 0) + ends
    head = head[:10] + struct.pack("!H", _checksum(head)) + head[12:]
    return ethernet(*macs, 0x0800, head + datagram)


def ipv4(
    macs: tuple[str, str],
    addresses: tuple[str, str],
    protocol: int,
    payload: bytes,
    *,
    ident: int = 1,
    offset: int = 0,
    more: bool = False,
) -> bytes:
    """An IPv4 packet, or a fragment of one: `offset` in bytes, `more` where others follow."""
    ends = IPv4Address(addresses[0]).packed + IPv4Address(addresses[1]).packed
    place = offset // 8 | (0x2000 if more else 0)
    length = 20 + len(payload)
    head = struct.pack("!BBHHHBBH", 0x45, 0, length, ident, place, 64, protocol, 0) + ends
    head = head[:10] + struct.pack("!H", _checksum(head)) + head[12:]
    return ethernet(*macs, 0x0800, head + payload)


def ipv6(
    macs: tuple[str, str],
    addresses: tuple[str, str],
    protocol: int,
    payload: bytes,
    *,
    ident: int = 0,
    offset: int = 0,
    more: bool = False,
) -> bytes:
    """An IPv6 packet; with `ident` a fragment of one, as in `ipv4`."""
    ends = IPv6Address(addresses[0]).packed + IPv6Address(addresses[1]).packed
    if ident:
        place = offset & ~7 | int(more)
        payload = struct.pack("!BBHI", protocol, 0, place, ident) + payload
        protocol = 44
    head = struct.pack("!IHBB", 6 << 28, len(payload), protocol, 64) + ends
    return ethernet(*macs, 0x86DD, head + payload)


def datagram(addresses: tuple[str, str], ports: tuple[int, int], payload: bytes) -> bytes:
    """A UDP datagram with its checksum, of either IP version."""
    kind = IPv6Address if ":" in addresses[0] else IPv4Address
    ends = kind(addresses[0]).packed + kind(addresses[1]).packed
    length = 8 + len(payload)
    head = struct.pack("!HHHH", *ports, length, 0)
    total = _checksum(ends + struct.pack("!IHH", length, 0, 17) + head + payload) or 0xFFFF
    return head[:6] + struct.pack("!H", total) + payload


def icmpv6(macs: tuple[str, str], addresses: tuple[str, str], kind: int, payload: bytes) -> bytes:
    """ICMPv6; pairs are (source, target)."""
    ends = IPv6Address(addresses[0]).packed + IPv6Address(addresses[1]).packed
    message = struct.pack("!BBH", kind, 0, 0) + payload
    total = _checksum(ends + struct.pack("!IHBB", len(message), 0, 0, 58) + message)
    message = message[:2] + struct.pack("!H", total) + message[4:]
    head = struct.pack("!IHBB", 6 << 28, len(message), 58, 255) + ends
    return ethernet(*macs, 0x86DD, head + message)


def main(verb: str, device: str, *frames: str) -> None:
    """Send frames (hexadecimal), or print each that comes."""
    with socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(_EVERY_FRAME)) as wire:
        wire.bind((device, 0))
        if verb == "send":
            for frame in frames:
                wire.send(bytes.fromhex(frame))
            return
        print("listening", flush=True)
        while True:
            frame, where = wire.recvfrom(65536)
            if where[2] != 4:  # PACKET_OUTGOING: what this end sent itself
                print(frame.hex(), flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
