"""A VLAN device where the kernel has none (no module 8021q): a tap that a program joins to a card, adding and taking off a tag.

`vlan_device.py CARD TAG MAC`: makes the tap `CARD.TAG` with that MAC, puts it up, prints `ready` and copies frames until it is killed; the
tap goes with it. Standard library only, so that it runs in any network namespace.
"""

from __future__ import annotations

import fcntl
import os
import select
import socket
import struct
import subprocess
import sys

_TUNSETIFF = 0x400454CA
_TAP, _NO_INFO = 0x0002, 0x1000
_EVERY_FRAME, _VLAN = 0x0003, 0x8100
_SOL_PACKET, _AUXDATA = 263, 8
_TAG_VALID = 0x10
_OUTGOING = 4


def tap(name: str, mac: str) -> int:
    """Make a tap device and put it up."""
    made = os.open("/dev/net/tun", os.O_RDWR)
    fcntl.ioctl(made, _TUNSETIFF, struct.pack("16sH", name.encode(), _TAP | _NO_INFO))
    subprocess.run(["ip", "link", "set", name, "address", mac, "mtu", "1400", "up"], check=True)
    return made


def tag_of(ancillary: list[tuple[int, int, bytes]]) -> int:
    """The tag that the kernel took off a frame, 0 for none."""
    for level, kind, data in ancillary:
        if (level, kind) == (_SOL_PACKET, _AUXDATA):
            status, _, _, _, _, tci, _ = struct.unpack("IIIHHHH", data[:20])
            return tci & 0xFFF if status & _TAG_VALID else 0
    return 0


def main(card: str, tag: int, mac: str) -> None:
    """Copy frames for ever."""
    wire = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(_EVERY_FRAME))
    wire.setsockopt(_SOL_PACKET, _AUXDATA, 1)
    wire.bind((card, _EVERY_FRAME))
    subprocess.run(["ip", "link", "set", card, "promisc", "on"], check=True)
    device = tap(f"{card}.{tag}", mac)
    print("ready", flush=True)
    while True:
        for ready in select.select([wire, device], [], [])[0]:
            if ready is wire:
                frame, ancillary, _, address = wire.recvmsg(65535, 256)
                if address[2] != _OUTGOING and tag_of(ancillary) == tag:
                    os.write(device, frame)
            else:
                frame = os.read(device, 65535)
                wire.send(frame[:12] + struct.pack("!HH", _VLAN, tag) + frame[12:])


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), sys.argv[3])
