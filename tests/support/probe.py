"""Questions and answers of real packets: `serve` answers TCP 80 and UDP 7, `ask` reads questions and tells what came back.

Run as a program of its own in a network namespace; standard library only. A question is a line `ADDRESS icmp`, `ADDRESS
tcp PORT` or `ADDRESS udp PORT`; the answer to it `1` (something came back, for TCP a refusal too) or `0`, in the same
order.
"""

from __future__ import annotations

import socket
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor

PATIENCE = 1.5
TCP_PORT, UDP_PORT = 80, 7


def serve() -> None:
    """Answer for ever."""
    threading.Thread(target=_serve_udp, daemon=True).start()
    with socket.create_server(("", TCP_PORT), backlog=64) as listening:
        while True:
            listening.accept()[0].close()


def _serve_udp() -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as listening:
        listening.bind(("", UDP_PORT))
        while True:
            listening.sendto(*listening.recvfrom(100))


def ask(address: str, protocol: str, port: int = 0) -> bool:
    """Whether anything of `address` answers. Two tries: the first packet may be lost while a cloud settles."""
    return any(_ask(address, protocol, port) for _ in range(2))


def _ask(address: str, protocol: str, port: int) -> bool:
    if protocol == "icmp":
        line = ["ping", "-n", "-c", "1", "-W", str(PATIENCE), address]
        done = subprocess.run(line, capture_output=True, text=True, check=False)
        return f"from {address}: icmp_seq=1 ttl=" in done.stdout and "DIFFERENT" not in done.stdout
    kind = socket.SOCK_STREAM if protocol == "tcp" else socket.SOCK_DGRAM
    with socket.socket(socket.AF_INET, kind) as asking:
        asking.settimeout(PATIENCE)
        try:
            asking.connect((address, port))
            if protocol == "udp":
                asking.send(b"x")
                asking.recv(100)
        except ConnectionRefusedError:
            return protocol == "tcp"  # for UDP it is an ICMP error, which other rules may let in
        except OSError:
            return False
        return True


def main() -> None:
    """`serve`, or `ask` with the questions on standard input."""
    if sys.argv[1] == "serve":
        serve()
    questions = [line.split() for line in sys.stdin if line.strip()]
    with ThreadPoolExecutor(24) as pool:
        answers = pool.map(lambda q: ask(q[0], q[1], int(q[2]) if len(q) > 2 else 0), questions)
        for answer in answers:
            print(int(answer))


if __name__ == "__main__":
    main()
