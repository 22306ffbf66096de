"""`netloom doctor`: what differs on a host from what it shall be, object by object, and the API object that wants it.

Exit status: 0 nothing differs (any more), 1 something differs, 2 a host could not be looked at.
"""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path

import msgspec

from netloom.agent.doctor import Report, Request, ask, lines
from netloom.agent.settings import AgentSettings, load
from netloom.lab import state
from netloom.lab.topology import nodes
from netloom.model.errors import UserError


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's arguments."""
    parser.add_argument("host", metavar="HOST", nargs="?", help="of a lab: this host alone")
    parser.add_argument("--repair", action="store_true", help="repair exactly what is shown")
    parser.add_argument(
        "--config",
        metavar="FILE",
        type=Path,
        help="the settings of the agent of this host, if they are not the usual ones",
    )
    parser.add_argument("--name", metavar="LAB", help="the lab (default: netloom)")
    parser.add_argument("--json", action="store_true", help="the same for programs")


@state.plain_errors()
def run(args: argparse.Namespace) -> int:
    """Ask each agent and show its answers."""
    if os.geteuid() != 0:
        raise UserError("only root may ask an agent")
    reports: list[Report] = []
    for host, folder in _agents(args):
        try:
            reports.append(ask(folder, Request(repair=args.repair)))
        except UserError as error:
            reports.append(Report(host=host, wrong=str(error)))
    if args.json:
        sys.stdout.write(
            msgspec.json.format(msgspec.json.encode(reports), indent=2).decode() + "\n"
        )
    else:
        for report in reports:
            for line in lines(report):
                print(line)
    if any(report.wrong for report in reports):
        return 2
    return 1 if any(report.findings for report in reports) else 0


def _agents(args: argparse.Namespace) -> list[tuple[str, Path]]:
    """(host, state folder of its agent) of all that are asked."""
    if args.config is not None:
        agent = load(args.config).agent
        return [(agent.host, agent.state)]
    lab = state.find(args.name)
    running = lab.load()
    if running is None and args.name is None and args.host is None:
        usual = AgentSettings(host="this host", server="unix:///", secret_file="")
        return [(usual.host, usual.state)]
    if running is None:
        raise UserError(f"there is no lab {lab.name!r}")
    names = [node.name for node in nodes(running.computes, networks=running.networks)]
    if args.host is not None and args.host not in names:
        raise UserError(f"there is no host {args.host!r} in this lab; there are {', '.join(names)}")
    return [(name, lab.host(name) / "state") for name in names if args.host in (None, name)]
