"""The real dnsmasq as the judge of its files: it is started on them in a namespace of its own, and asked.

`ask` runs this file as a program in a fresh network namespace: a veth pair, dnsmasq on one end, and a client that
writes raw frames on the other. Nothing of it is left when the program ends.
"""

from __future__ import annotations

import json
import socket
import struct
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

COOKIE = b"\x63\x82\x53\x63"
DISCOVER, OFFER, REQUEST, DECLINE, ACK, NAK, RELEASE, INFORM = 1, 2, 3, 4, 5, 6, 7, 8


def ask(directory: Path, addresses: list[str], messages: list[dict[str, Any]]) -> dict[str, Any]:
    """Start dnsmasq on `directory`/conf, send the messages one by one, return what was heard and logged.

    `addresses` are the server's (CIDR). A message: `mac` (of the frame), and any of `type`, `chaddr`, `ciaddr`, `giaddr`,
    `options` (code → hex), `first` (options before the type), `wants` (codes), `sname` (hex). A `type` of 0 is left out. Answers: None, or `yiaddr`, `siaddr`, `file`, `sname`, `options` (code → hex).
    """
    told = json.dumps({"directory": str(directory), "addresses": addresses, "messages": messages})
    done = subprocess.run(
        ["unshare", "-n", sys.executable, __file__],
        input=told,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def payload(message: dict[str, Any], number: int) -> bytes:
    """A DHCP message (RFC 2131)."""
    kind = message.get("type", DISCOVER)
    chaddr = bytes.fromhex(message.get("chaddr", message["mac"]).replace(":", ""))
    head = struct.pack(
        "!BBBBIHH4s4s4s4s",
        1, 1, message.get("hlen", 6), message.get("hops", 0), number, 0, 0x8000,
        socket.inet_aton(message.get("ciaddr", "0.0.0.0")),
        bytes(4), bytes(4),
        socket.inet_aton(message.get("giaddr", "0.0.0.0")),
    )  # fmt: skip
    options = b"".join(
        bytes([int(code), len(value) // 2]) + bytes.fromhex(value)
        for code, value in message.get("first", {}).items()
    )
    # As large as an answer may be (option 57): long options shall find room.
    options += bytes([53, 1, kind] if kind else []) + bytes([57, 2, 5, 0xDC])
    wants = bytes(message.get("wants", ()))
    if wants:
        options += bytes([55, len(wants)]) + wants
    for code, value in message.get("options", {}).items():
        options += bytes([int(code), len(value) // 2]) + bytes.fromhex(value)
    sname = bytes.fromhex(message.get("sname", "")).ljust(64, b"\0")
    body = head + chaddr.ljust(16, b"\0") + sname + bytes(128) + COOKIE + options + b"\xff"
    return body.ljust(300, b"\0")


def frame(mac: str, data: bytes, src: str = "0.0.0.0", dst: str = "255.255.255.255") -> bytes:
    """UDP 68 → 67 in IP in Ethernet, to everybody."""
    udp = struct.pack("!HHHH", 68, 67, 8 + len(data), 0) + data
    ip = struct.pack(
        "!BBHHHBBH4s4s",
        0x45, 0, 20 + len(udp), 0, 0, 64, 17, 0, socket.inet_aton(src), socket.inet_aton(dst),
    )  # fmt: skip
    total = sum(struct.unpack("!10H", ip))
    total = (total & 0xFFFF) + (total >> 16)
    total = (total & 0xFFFF) + (total >> 16)
    ip = ip[:10] + struct.pack("!H", ~total & 0xFFFF) + ip[12:]
    return b"\xff" * 6 + bytes.fromhex(mac.replace(":", "")) + b"\x08\x00" + ip + udp


def parse(data: bytes) -> dict[str, Any]:
    """What an answer says."""
    options: dict[str, str] = {}
    at = 240
    while at < len(data) and data[at] != 255:
        if data[at] == 0:
            at += 1
            continue
        code, length = data[at], data[at + 1]
        # A long value comes in several options of one number (RFC 3396).
        options[str(code)] = options.get(str(code), "") + data[at + 2 : at + 2 + length].hex()
        at += 2 + length
    return {
        "yiaddr": socket.inet_ntoa(data[16:20]),
        "siaddr": socket.inet_ntoa(data[20:24]),
        "sname": data[44:108].rstrip(b"\0").hex(),
        "file": data[108:236].split(b"\0")[0].hex(),
        "options": options,
        "type": int(options.get("53", "00"), 16),
    }


def listen(link: socket.socket, number: int, seconds: float) -> dict[str, Any] | None:
    """The answer to a message, None where none comes in time."""
    deadline = time.monotonic() + seconds
    while (left := deadline - time.monotonic()) > 0:
        link.settimeout(left)
        try:
            got = link.recv(4096)
        except TimeoutError:
            break
        if len(got) < 42 + 240 or got[23] != 17 or got[34:38] != b"\x00\x43\x00\x44":
            continue
        if struct.unpack("!I", got[46:50])[0] == number:
            return parse(got[42:])
    return None


def main() -> None:
    told = json.load(sys.stdin)
    home = Path(told["directory"])
    run = (
        "ip link add s type veth peer name c; ip link set lo up; ip link set s up; ip link set c up"
    )
    subprocess.run(["sh", "-ec", run], check=True)
    for address in told["addresses"]:
        subprocess.run(["ip", "addr", "add", address, "dev", "s"], check=True)
    with (home / "log").open("wb") as log:
        server = subprocess.Popen(
            ["dnsmasq", "-k", f"--conf-file={home}/conf", "--log-facility=-", "--user=root"],
            stdout=log, stderr=log,
        )  # fmt: skip
    link = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(0x0800))
    link.bind(("c", 0))
    answers: list[Any] = []
    try:
        deadline = time.monotonic() + 30
        while not (home / "pid").exists() and server.poll() is None:
            assert time.monotonic() < deadline, "dnsmasq does not start"
            time.sleep(0.005)
        for number, message in enumerate(told["messages"], 1):
            if server.poll() is not None:
                break
            link.send(
                frame(message["mac"], payload(message, number), message.get("src", "0.0.0.0"))
            )
            silent = message.get("type", DISCOVER) in (DECLINE, RELEASE)
            seconds = message.get("seconds", 0.0 if silent else 5.0)
            answers.append(listen(link, number, seconds))
    finally:
        server.kill()
        server.wait()
        link.close()
    text = (home / "log").read_text(errors="replace")
    json.dump({"answers": answers, "log": text}, sys.stdout)


if __name__ == "__main__":
    main()
