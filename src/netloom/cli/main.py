"""The `netloom` command: one subcommand a module, wired here."""

from __future__ import annotations

import argparse
import importlib
import sys
from typing import Any

from netloom import __version__
from netloom.model.errors import UserError

COMMANDS: dict[str, tuple[str, str]] = {
    "server": ("netloom.cli.server", "run the API server"),
    "agent": ("netloom.cli.agent", "run the agent of this host"),
    "db": ("netloom.cli.db", "create or upgrade the database"),
    "host": ("netloom.cli.host", "register a host and make its agent's credential"),
    "lab": ("netloom.cli.lab", "many hosts on this machine: up, down, exec, status, env"),
    "demo": ("netloom.cli.demo", "carry out both walkthroughs on a lab"),
    "explain": ("netloom.cli.explain", "why a packet does or does not arrive"),
    "doctor": ("netloom.cli.doctor", "what differs on a host from what it shall be, and repair it"),
    "bench": (
        "netloom.bench.program",
        "measure the API and a lab, with --neutron beside a real Neutron",
    ),
    "support-dump": ("netloom.support.dump", "one archive for a bug report, secrets left out"),
}
"""Command → module with `add_arguments(parser)` and `run(args) -> int`, and one line of help.

Modules are imported only when their command is called, so that an agent never loads the server's.
"""


class Parser(argparse.ArgumentParser):
    """Takes options as they are written only: `--host` is no short form of `--hosts`. Its subcommands' parsers are alike."""

    def __init__(self, **settings: Any) -> None:
        super().__init__(**settings, allow_abbrev=False)


def main(argv: list[str] | None = None) -> int:
    """Run one command; returns its exit status. A user's mistake is one line on stderr and status 2."""
    try:
        return _main(sys.argv[1:] if argv is None else argv)
    except KeyboardInterrupt:
        return 130
    except UserError as error:
        print(f"netloom: {error}", file=sys.stderr)
        return 2
    except BrokenPipeError:
        return 141


def _main(arguments: list[str]) -> int:
    parser = Parser(
        prog="netloom", description="OpenStack networking that one person can run, read and trust."
    )
    parser.add_argument("--version", action="version", version=f"netloom {__version__}")
    subparsers = parser.add_subparsers(dest="command", metavar="COMMAND", required=True)
    wanted = next((word for word in arguments if word in COMMANDS), None)
    for name, (module, summary) in COMMANDS.items():
        sub = subparsers.add_parser(name, help=summary, description=summary)
        if name == wanted:
            importlib.import_module(module).add_arguments(sub)
    args = parser.parse_args(arguments)
    return int(importlib.import_module(COMMANDS[args.command][0]).run(args) or 0)
