"""`netloom support-dump`: one archive for a bug report, secrets left out.

Two walls keep secrets in: only what is listed here is gathered (never a file of the state folder as such), and
every text on its way into the archive loses whatever is known, or looks, like a secret.
"""

from __future__ import annotations

import argparse
import importlib.metadata
import io
import os
import platform
import re
import subprocess
import sys
import tarfile
import time
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import msgspec

from netloom import plan
from netloom.lab import hosts, state, wiring
from netloom.lab import settings as lab_settings
from netloom.lab.state import Lab
from netloom.model import KINDS, server_settings
from netloom.model.errors import UserError
from netloom.server import database
from netloom.store import Reader, Store, migrate

CHANGES = 500
"""How many of the newest changes are taken along."""

LOG_BYTES = 2_000_000
"""How much of the end of each log."""

REMOVED = "[removed]"

SHAPES = (
    # What looks like a token (a JWT), a private key, or a value that a name or a header announces as secret.
    re.compile(r"eyJ[\w-]{8,}\.[\w-]+\.[\w-]+"),
    re.compile(r"-----BEGIN [A-Z ]*PRIVATE KEY-----.*?-----END [A-Z ]*PRIVATE KEY-----", re.S),
    re.compile(r"\$argon2[\w$=,+/.-]+"),
    re.compile(r"(?i)(?<=bearer )\S+"),
    re.compile(r"(?i)(?<=x-auth-token: )\S+"),
    re.compile(
        r"""(?ix)(?<=["']) (?:password|admin_?pass|user_data|secret|token)["']\s*:\s*["'][^"']+["']"""
    ),
)

COMMANDS: Mapping[str, tuple[str, ...]] = {
    "ovs-vsctl-show": ("ovs-vsctl", "show"),
    "ovs-vsctl-interfaces": (
        "ovs-vsctl",
        "--columns=name,ofport,error,external_ids",
        "list",
        "Interface",
    ),
    "ovs-ofctl-dump-flows": ("ovs-ofctl", "dump-flows", "br-int"),
    "ovs-appctl-conntrack": ("ovs-appctl", "dpctl/dump-conntrack"),
    "bridge-links": ("bridge", "-d", "link"),
    "bridge-fdb": ("bridge", "fdb", "show"),
    "nft": ("nft", "list", "ruleset"),
    "ip-addresses": ("ip", "address"),
    "ip-routes": ("ip", "route"),
    "ip-netns": ("ip", "netns"),
    "processes": ("ps", "-eo", "pid,ppid,etime,rss,comm"),
    "mounts-of-cgroups": ("cat", "/proc/self/cgroup"),
}
"""What each host of a lab is asked."""

NAMESPACED: Mapping[str, tuple[str, ...]] = {
    "addresses": ("ip", "address"),
    "routes": ("ip", "route"),
    "nft": ("nft", "list", "ruleset"),
}
"""What is asked in every router's and DHCP's namespace of a host."""

VERSIONS: tuple[tuple[str, ...], ...] = (
    ("ovs-vsctl", "--version"),
    ("nft", "--version"),
    ("dnsmasq", "--version"),
    ("crun", "--root", "/proc", "--version"),  # it makes the folder of its state, even for this
    ("qemu-img", "--version"),
    ("uname", "-a"),
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Say what the command takes."""
    which = parser.add_mutually_exclusive_group()
    which.add_argument("--config", metavar="FILE", help="settings of the server to describe")
    which.add_argument("--name", metavar="LAB", help="the lab to describe (default: netloom)")
    parser.add_argument(
        "--output", metavar="FILE", help="the archive (default: netloom-support-TIME.tar.gz)"
    )


def run(args: argparse.Namespace) -> int:
    """Write the archive."""
    lab = None if args.config else state.find(args.name)
    config = Path(args.config) if lab is None else lab_settings.server_file(lab)
    if lab is not None and not config.exists():
        raise UserError(
            f"there is no lab {lab.name!r}: name one with --name, or a server with --config"
        )
    output = Path(args.output or time.strftime("netloom-support-%Y%m%d-%H%M%S.tar.gz"))
    count = write(output, server_settings.load(config), lab)
    print(f"{output}: {count} files, secrets left out")
    return 0


def write(output: Path, server: server_settings.Settings, lab: Lab | None) -> int:
    """Gather everything into `output`; return how many files it holds."""
    store = Store.open(server.server.database_url)
    try:
        with store.reader() as reader:
            clean = Cleaner(secrets_of(reader) | secrets_in_files(server, lab))
            parts = [("versions.json", _json(versions(store.version()))), *_server(reader)]
    except UserError as error:
        # What lies beside a damaged database tells what happened to it.
        clean = Cleaner(secrets_in_files(server, lab))
        parts = [("versions.json", _json(versions(""))), ("database-unreadable", f"{error}\n")]
    finally:
        store.close()
    parts += [("settings.json", _json(msgspec.to_builtins(server))), *(_lab(lab) if lab else ())]
    count = 0
    try:
        # For its owner only from the first byte on.
        file = os.fdopen(os.open(output, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb")
        with file, tarfile.open(fileobj=file, mode="w:gz") as archive:
            os.fchmod(file.fileno(), 0o600)
            for name, text in parts:
                content = clean(text).encode()
                entry = tarfile.TarInfo(f"netloom-support/{name}")
                entry.size, entry.mtime, entry.mode = len(content), int(time.time()), 0o600
                archive.addfile(entry, io.BytesIO(content))
                count += 1
    except OSError as error:
        raise UserError(f"cannot write {output}: {error.strerror}") from error
    return count


class Cleaner:
    """Takes secrets out of text: those that are known by heart, and what has the shape of one."""

    def __init__(self, secrets: Iterable[str]) -> None:
        # The longest first: one may be part of another.
        self._secrets = sorted({s for s in secrets if len(s) >= 6}, key=len, reverse=True)

    def __call__(self, text: str) -> str:
        """Return the text without them."""
        for secret in self._secrets:
            text = text.replace(secret, REMOVED)
        for shape in SHAPES:
            text = shape.sub(REMOVED, text)
        return text


def secrets_of(reader: Reader) -> set[str]:
    """Return every secret in the database: hashes, and the secret fields of objects."""
    found = {host.secret_hash for host in reader.hosts().values()}
    for kind in KINDS.values():
        if not kind.SECRET:
            continue
        for each in reader.list(kind):
            found |= {str(value) for name in kind.SECRET if (value := getattr(each, name, None))}
    return found


def secrets_in_files(server: server_settings.Settings, lab: Lab | None) -> set[str]:
    """Return the secrets that lie beside the database: the token key, first passwords, a lab's hosts' credentials."""
    folder = Path(server.server.state_dir)
    files = [folder / "token.key"]
    if lab is not None:
        files += sorted(lab.directory.glob("hosts/*/secret"))
    found = {word for file in files if file.is_file() for word in _tail(file).split()}
    passwords = folder / database.PASSWORDS
    if passwords.is_file():
        found |= set(database.first_passwords(passwords))
    return found


def _server(reader: Reader) -> Iterator[tuple[str, str]]:
    newest, now = reader.seq(), time.time()
    yield (
        "hosts.json",
        _json(
            {
                name: {
                    "facts": host.facts,
                    "admin_state_up": host.admin_state_up,
                    "applied_seq": host.applied_seq,
                    "wanted_seq": host.wanted_seq,
                    "behind": host.behind,
                    "heard_seconds_ago": None
                    if host.heartbeat_at is None
                    else now - host.heartbeat_at,
                }
                for name, host in reader.hosts().items()
            }
        ),
    )
    yield "status-not-ok.json", _json([row for row in reader.status_rows() if row.state != "ok"])
    yield "objects.json", _json({name: reader.count(kind) for name, kind in KINDS.items()})
    yield "changes.json", _json(reader.changes(max(0, newest - CHANGES), CHANGES))


def versions(database: str) -> dict[str, Any]:
    """Return what runs here, in which version; `database`: that of its tables."""
    packages = {
        found.metadata["Name"]: found.version for found in importlib.metadata.distributions()
    }
    return {
        "netloom": packages.get("netloom", "from source"),
        "plan": plan.VERSION,
        "database": {"is": database, "needed": migrate.head()},
        "python": sys.version,
        "platform": platform.platform(),
        "tools": {command[0]: _output(command).splitlines()[:1] for command in VERSIONS},
        "packages": dict(sorted(packages.items())),
    }


def _lab(lab: Lab) -> Iterator[tuple[str, str]]:
    """Give the logs of a lab, and what its hosts answer, as far as they can be reached."""
    for log in [*lab.directory.glob("*.log"), *lab.directory.glob("hosts/*/logs/*")]:
        yield f"logs/{log.relative_to(lab.directory)}", _tail(log)
    described = lab.load()
    if described is None:
        return
    for host in sorted(set(described.processes) - {"server"}):
        try:
            found = hosts.find(described, host)
        except UserError as error:
            yield f"hosts/{host}/unreachable", str(error)
            continue
        for name, command in COMMANDS.items():
            yield f"hosts/{host}/{name}", _output(wiring.inside(found, command))
        for line in _output(wiring.inside(found, ("ip", "netns"))).splitlines():
            namespace = line.split()[0]
            if not namespace.startswith(("qrouter-", "qdhcp-", "snat-")):
                continue
            for name, command in NAMESPACED.items():
                inside = wiring.inside(found, ("ip", "netns", "exec", namespace, *command))
                yield f"hosts/{host}/{namespace}/{name}", _output(inside)


def _output(command: Iterable[str]) -> str:
    """Return what a tool says; a tool that is missing or fails says so here instead of ending the dump."""
    try:
        done = subprocess.run(
            list(command),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=20,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        return f"{error}\n"
    return (
        done.stdout
        if not done.returncode
        else f"{done.stdout}{done.stderr}[exit status {done.returncode}]\n"
    )


def _tail(path: Path) -> str:
    try:
        with path.open("rb") as file:
            size = file.seek(0, io.SEEK_END)
            file.seek(max(0, size - LOG_BYTES))
            return file.read().decode("utf-8", "replace")
    except OSError as error:
        return f"[{error.strerror}]\n"


def _json(value: Any) -> str:
    return msgspec.json.format(msgspec.json.encode(value), indent=1).decode() + "\n"
