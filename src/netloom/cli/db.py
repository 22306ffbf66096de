"""`netloom db`: the database's life beside the server."""

from __future__ import annotations

import argparse

from netloom.model.server_settings import load
from netloom.store import Store


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare what the command takes."""
    actions = parser.add_subparsers(dest="action", metavar="ACTION", required=True)
    upgrade = actions.add_parser("upgrade", help="create the database or bring it to this version")
    where = upgrade.add_mutually_exclusive_group(required=True)
    where.add_argument("--config", metavar="FILE", help="the server's TOML settings")
    where.add_argument("--database", metavar="URL", help="sqlite:////path/to/file.db")


def run(args: argparse.Namespace) -> int:
    """Carry the command out."""
    store = Store.open(args.database or load(args.config).server.database_url)
    try:
        store.upgrade()
        print(f"the database is at version {store.version()}")
    finally:
        store.close()
    return 0
