"""`netloom db`: the database's life beside the server."""

from __future__ import annotations

import argparse


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare what the command takes."""
    actions = parser.add_subparsers(dest="action", metavar="ACTION", required=True)
    upgrade = actions.add_parser("upgrade", help="create the database or bring it to this version")
    upgrade.add_argument("--database", metavar="URL", required=True, help="sqlite:////path/to/file.db")


def run(args: argparse.Namespace) -> int:
    """Carry the command out."""
    from netloom.store import Store

    store = Store.open(args.database)
    try:
        store.upgrade()
        print(f"the database is at version {store.version()}")
    finally:
        store.close()
    return 0
