"""`netloom explain`: why a packet does or does not arrive, hop by hop.

Exit status: 0 reachable, 1 not reachable, 2 cannot say (or the question makes no sense).
"""

from __future__ import annotations

import argparse
import time
from typing import Any

import msgspec

from netloom.cli.picture import picture
from netloom.cli.session import Session, open_session
from netloom.explain.cause import Cause

EXIT_STATUS = {"reachable": 0, "unreachable": 1, "unknown": 2}
PATIENCE_SECONDS = 6.0
"""How long to ask again while hosts are only behind: they catch up within a heartbeat, as a rule."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command line."""
    parser.add_argument("source", help="instance, port (name or id), address, or «outside»")
    parser.add_argument("destination", help="the same")
    parser.add_argument(
        "--protocol", default="icmp", help="icmp (default), tcp, udp, another name or number"
    )
    parser.add_argument("--port", help="destination port, for tcp and udp")
    parser.add_argument(
        "--size",
        help="bytes of the IP packet, which must not be fragmented: does it fit the path's MTU?",
    )
    shown = parser.add_mutually_exclusive_group()
    shown.add_argument("--json", action="store_true", help="the whole answer as JSON")
    shown.add_argument("--picture", action="store_true", help="the way there as a picture")


def run(args: argparse.Namespace) -> int:
    """Ask the server and show its answer."""
    query = {"source": args.source, "destination": args.destination, "protocol": args.protocol}
    if args.port is not None:
        query["port"] = args.port
    if args.size is not None:
        query["size"] = args.size
    answer = ask(open_session(), query)
    if args.json:
        print(msgspec.json.format(msgspec.json.encode(answer), indent=2).decode())
    elif args.picture:
        print(f"{picture(answer['there'])}\n\n{verdict(answer)}")
    else:
        print(text(answer))
    return EXIT_STATUS.get(answer["verdict"], 2)


def ask(session: Session, query: dict[str, str]) -> dict[str, Any]:
    """Ask; again for a short while where hosts only lag behind."""
    end = time.monotonic() + PATIENCE_SECONDS
    while True:
        answer: dict[str, Any] = session.get("/explain/v1", **query)
        if answer["cause"] != Cause.HOST_BEHIND or time.monotonic() > end:
            return answer
        time.sleep(0.5)


def text(answer: dict[str, Any]) -> str:
    """The answer as a person reads it: the way there, the way back, the verdict last."""
    service = f"{answer['protocol']}/{answer['port']}" if answer["port"] else answer["protocol"]
    lines = [f"{answer['source']} -> {answer['destination']}, {service}"]
    for title, hops in (("There", answer["there"]), ("Back", answer["back"])):
        if hops:
            lines += ["", f"{title}:", *_hops([h for h in hops if _tells(h) or h is hops[-1]])]
    return "\n".join([*lines, "", verdict(answer)])


def verdict(answer: dict[str, Any]) -> str:
    """The verdict, the object that decides it, and what to do."""
    lines = [f"{answer['verdict'].upper()}: {answer['sentence']}"]
    if answer["decided_by"]:
        _, _, ident = answer["decided_by"].partition("/")
        named = answer["decided_by_name"]
        lines.append(
            f"Decided by {named}"
            if named.endswith(f" {ident}")
            else f"Decided by {named} ({ident})"
        )
    if answer["fix"]:
        lines.append(f"What to do: {answer['fix']}")
    return "\n".join(lines)


PASSED = ("LOCAL: ", "OUTPUT: ", "EGRESS: ", "EGRESS_ACCEPT: ", "INGRESS: ", "INGRESS_ACCEPT: ")
"""Stages that every packet passes without a decision; only --json shows them."""


def _tells(hop: dict[str, Any]) -> bool:
    return hop["kind"] != "flow" or not hop["text"].startswith(PASSED)


def _hops(hops: list[dict[str, Any]]) -> list[str]:
    lines: list[str] = []
    host = ""
    for number, hop in enumerate(hops, start=1):
        if hop["host"] != host:
            host = hop["host"]
            lines.append(f"  {host}")
        because = f"  [{', '.join(hop['because'][:3])}]" if hop["because"] else ""
        lines.append(f"  {number:3d}. {hop['text']}{because}")
        if hop["command"]:
            lines.append(f"         $ {hop['command']}")
    return lines
