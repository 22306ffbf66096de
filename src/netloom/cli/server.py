"""`netloom server`: the API server, its feed to the agents and the keeper, in one process."""

from __future__ import annotations

import argparse

from netloom.model import server_settings
from netloom.server import process


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Say what the command takes."""
    parser.add_argument(
        "--config", required=True, metavar="FILE", help="TOML settings (docs/operators.md)"
    )


def run(args: argparse.Namespace) -> int:
    """Serve until SIGTERM."""
    process.run(server_settings.load(args.config))
    return 0
