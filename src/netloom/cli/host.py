"""`netloom host`: hosts that may talk to the server, and their agents' credentials."""

from __future__ import annotations

import argparse
import secrets
import sys
import time
from pathlib import Path
from typing import get_args

from netloom.model import HostGrant, bounds, server_settings
from netloom.model.credentials import secret_hash
from netloom.model.errors import UserError
from netloom.model.files import write_whole
from netloom.model.hosts import Role
from netloom.network import admission, placement
from netloom.store import NotFound, Store, Writer


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Say what the command takes."""
    actions = parser.add_subparsers(dest="action", metavar="ACTION", required=True)
    add = actions.add_parser("add", help="register a host, or give it a new credential")
    grant = actions.add_parser(
        "grant", help="say anew what a host may be; what is not named is taken away"
    )
    remove = actions.add_parser("remove", help="forget a host; its credential ends at once")
    for each in (add, grant, remove):
        each.add_argument("name", help="the host's name, as its agent's settings say it")
    for each in (add, grant):
        _add_grants(each)
    add.add_argument(
        "--secret-file", metavar="FILE", help="write the secret here (0600) instead of printing it"
    )
    listing = actions.add_parser("list", help="registered hosts")
    for each in (add, grant, remove, listing):
        where = each.add_mutually_exclusive_group(required=True)
        where.add_argument("--config", metavar="FILE", help="the server's TOML settings")
        where.add_argument("--database", metavar="URL", help="the server's database")


def run(args: argparse.Namespace) -> int:
    """Run the action."""
    url = args.database or server_settings.load(args.config).server.database_url
    store = Store.open(url)
    try:
        if args.action == "add":
            return _add(store, args.name, args.secret_file, _granted(args))
        if args.action == "grant":
            return _grant(store, args.name, _granted(args) or HostGrant(roles=()))
        return _remove(store, args.name) if args.action == "remove" else _list(store)
    finally:
        store.close()


def _add_grants(parser: argparse.ArgumentParser) -> None:
    may = parser.add_argument_group("what the host may be (each may be given several times)")
    may.add_argument(
        "--role",
        action="append",
        choices=get_args(Role),
        help="network: carries routers; compute: instances (a new host's default)",
    )
    may.add_argument(
        "--physical-network",
        action="append",
        metavar="NAME",
        help="a physical network that it may be connected to; '*' is any",
    )
    may.add_argument(
        "--instance-type",
        action="append",
        choices=["container"],
        help="instances that it may run; none by default",
    )


def _granted(args: argparse.Namespace) -> HostGrant | None:
    """The grant that the options say; None where there are none."""
    roles, networks = args.role, args.physical_network
    if roles is None and networks is None and args.instance_type is None:
        return None
    try:
        return HostGrant(
            roles=tuple(dict.fromkeys(roles or ("compute",))),
            physical_networks=tuple(dict.fromkeys(networks or ())),
            instance_types=tuple(dict.fromkeys(args.instance_type or ())),
        )
    except ValueError as error:
        raise UserError(str(error)) from error


def _add(store: Store, name: str, file: str | None, granted: HostGrant | None) -> int:
    """Make a secret; only its hash stays with the server. An old secret ends at once.

    What a host that is registered already was granted stays where no option says otherwise.
    """
    try:
        bounds.host_name(name)
    except ValueError as error:
        raise UserError(str(error)) from error
    secret = secrets.token_urlsafe(32)
    with store.writer(actor="netloom host add") as writer:
        writer.put_host(name, secret_hash=secret_hash(secret))
        if granted is not None:
            _narrow(writer, name, granted)
        # Inside the transaction: what cannot be written does not end the secret that is in use.
        if file:
            _write(Path(file), secret)
    if not file:
        print(secret)
        print(f"The secret of {name}: keep it in the agent's secret_file (0600).", file=sys.stderr)
    return 0


def _grant(store: Store, name: str, granted: HostGrant) -> int:
    with store.writer(actor="netloom host grant") as writer:
        _narrow(writer, name, granted)
    return 0


def _narrow(writer: Writer, name: str, granted: HostGrant) -> None:
    """Grant this and nothing else: what the host reported beyond it does not count any more."""
    row = writer.host(name)
    if row is None:
        raise UserError(f"there is no host {name}: netloom host add {name}")
    writer.put_host(name, granted=granted, facts=admission.within(row.facts, granted))


def _remove(store: Store, name: str) -> int:
    """Forget the host. Its stream ends at once; ports and servers that are bound to it stay bound, its routers go to others."""
    try:
        with store.writer(actor="netloom host remove") as writer:
            writer.delete_host(name)
            placement.forget(writer, name)
    except NotFound as error:
        raise UserError(str(error)) from error
    return 0


def _write(path: Path, secret: str) -> None:
    try:
        write_whole(path, f"{secret}\n".encode())
    except OSError as error:
        raise UserError(f"cannot write the secret to {path}: {error.strerror}") from error


def _list(store: Store) -> int:
    with store.reader() as reader:
        hosts = reader.hosts()
    for name, host in sorted(hosts.items()):
        if host.heartbeat_at is None:
            seen = "never reported"
        else:
            heard = max(0.0, time.time() - host.heartbeat_at)
            seen = f"behind by {host.behind}, heard of {heard:.0f} s ago"
        print(f"{name}\t{','.join(host.facts.roles) if host.facts else '-'}\t{seen}")
        if options := admission.options(host.granted):
            print(f"\tgranted: {options}")
    return 0
