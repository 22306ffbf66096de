"""`netloom host`: hosts that may talk to the server, and their agents' credentials."""

from __future__ import annotations

import argparse
import secrets
import sys
import time
from pathlib import Path

from netloom.api import settings
from netloom.api.agents import secret_hash
from netloom.model.errors import UserError
from netloom.model.files import write_whole
from netloom.store import Store


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Say what the command takes."""
    actions = parser.add_subparsers(dest="action", metavar="ACTION", required=True)
    add = actions.add_parser("add", help="register a host, or give it a new credential")
    add.add_argument("name", help="the host's name, as its agent's settings say it")
    add.add_argument(
        "--secret-file", metavar="FILE", help="write the secret here (0600) instead of printing it"
    )
    listing = actions.add_parser("list", help="registered hosts")
    for each in (add, listing):
        where = each.add_mutually_exclusive_group(required=True)
        where.add_argument("--config", metavar="FILE", help="the server's TOML settings")
        where.add_argument("--database", metavar="URL", help="the server's database")


def run(args: argparse.Namespace) -> int:
    """Run `add` or `list`."""
    url = args.database or settings.load(args.config).server.database_url
    store = Store.open(url)
    try:
        return _add(store, args.name, args.secret_file) if args.action == "add" else _list(store)
    finally:
        store.close()


def _add(store: Store, name: str, file: str | None) -> int:
    """Make a secret; only its hash stays with the server. An old secret ends at once."""
    if not name or any(c.isspace() or c == "/" for c in name):
        raise UserError(f"{name!r} is no host name")
    secret = secrets.token_urlsafe(32)
    with store.writer(actor="netloom host add") as writer:
        writer.put_host(name, secret_hash=secret_hash(secret))
        # Inside the transaction: what cannot be written does not end the secret that is in use.
        if file:
            _write(Path(file), secret)
    if not file:
        print(secret)
        print(f"The secret of {name}: keep it in the agent's secret_file (0600).", file=sys.stderr)
    return 0


def _write(path: Path, secret: str) -> None:
    try:
        write_whole(path, f"{secret}\n".encode())
    except OSError as error:
        raise UserError(f"cannot write the secret to {path}: {error.strerror}") from error


def _list(store: Store) -> int:
    with store.reader() as reader:
        newest, hosts = reader.seq(), reader.hosts()
    for name, host in sorted(hosts.items()):
        if host.heartbeat_at is None:
            seen = "never reported"
        else:
            heard = max(0.0, time.time() - host.heartbeat_at)
            seen = f"behind by {max(0, newest - host.applied_seq)}, heard of {heard:.0f} s ago"
        print(f"{name}\t{','.join(host.facts.roles) if host.facts else '-'}\t{seen}")
    return 0
