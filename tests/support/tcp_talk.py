"""A TCP session with a pulse: `serve PORT` echoes lines, `talk ADDRESS PORT` sends one each 50 ms, prints echoes.

Run as a program of its own in a network namespace; standard library only.
"""

from __future__ import annotations

import socket
import sys
import threading
import time


def serve(port: int) -> None:
    """Echo whatever comes, for ever."""
    with socket.create_server(("", port)) as listening:
        while True:
            session, _ = listening.accept()
            threading.Thread(target=_echo, args=(session,), daemon=True).start()


def _echo(session: socket.socket) -> None:
    with session:
        while data := session.recv(4096):
            session.sendall(data)


def talk(address: str, port: int) -> None:
    """Print `beat` for each echo."""
    with socket.create_connection((address, port), timeout=5) as session:
        while True:
            session.sendall(b"beat\n")
            if not session.recv(4096):
                return
            print("beat", flush=True)
            time.sleep(0.05)


if __name__ == "__main__":
    if sys.argv[1] == "serve":
        serve(int(sys.argv[2]))
    else:
        talk(sys.argv[2], int(sys.argv[3]))
