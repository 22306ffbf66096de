"""How much gets through: `flood.py receive PROTOCOL PORT SKIP SECONDS` and `flood.py send PROTOCOL ADDRESS PORT SECONDS [MBIT SIZE]`.

The receiver prints `ready`, then one line of JSON: bytes of payload and datagrams a second, counted from SKIP seconds after the first of them, and
the DSCP marks that it saw (UDP). Standard library only, so that it runs in any network namespace.
"""

from __future__ import annotations

import contextlib
import json
import socket
import sys
import time

MARKS = socket.IP_TOS


def receive(protocol: str, port: str, skip: str, seconds: str) -> None:
    """Count what comes."""
    kind = socket.SOCK_STREAM if protocol == "tcp" else socket.SOCK_DGRAM
    link = socket.socket(socket.AF_INET, kind)
    link.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    link.bind(("", int(port)))
    if protocol == "tcp":
        link.listen()
    else:
        link.setsockopt(socket.IPPROTO_IP, socket.IP_RECVTOS, 1)
        link.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 20)
    print("ready", flush=True)
    link.settimeout(30)
    if protocol == "tcp":
        link, _ = link.accept()
        link.settimeout(30)
    first = begun = last = 0.0
    octets = packets = 0
    marks: set[int] = set()
    while not begun or last - begun < float(seconds):
        data, more, _, _ = link.recvmsg(1 << 16, 64)
        last = time.monotonic()
        first = first or last
        marks |= {value[0] >> 2 for _, sort, value in more if sort == MARKS}
        if last - first >= float(skip):
            if begun:
                octets += len(data)
                packets += 1
            begun = begun or last
    took = last - begun
    found = {"octets": octets / took, "packets": packets / took, "marks": sorted(marks)}
    print(json.dumps(found), flush=True)


def send(
    protocol: str, address: str, port: str, seconds: str, mbit: str = "0", size: str = "1400"
) -> None:
    """Send as much as is taken (TCP), or so many millions of bits a second in datagrams of a size (UDP)."""
    end = time.monotonic() + float(seconds)
    if protocol == "tcp":
        with contextlib.suppress(OSError), socket.create_connection((address, int(port)), 10) as to:
            if mbit != "0":
                to.setsockopt(socket.IPPROTO_TCP, socket.TCP_CONGESTION, mbit.encode())
            while time.monotonic() < end:
                to.sendall(b"x" * 16384)
        return
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as to:
        to.connect((address, int(port)))
        begun, sent = time.monotonic(), 0
        while (now := time.monotonic()) < end:
            if sent * 8 / 1e6 > float(mbit) * (now - begun):
                time.sleep(0.001)
                continue
            with contextlib.suppress(OSError):
                to.send(b"y" * int(size))
            sent += int(size)


if __name__ == "__main__":
    {"receive": receive, "send": send}[sys.argv[1]](*sys.argv[2:])
