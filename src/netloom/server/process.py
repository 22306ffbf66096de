"""The server as a process: database, secrets, sockets, threads, and an orderly end."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import ipaddress
import logging
import os
import resource
import secrets
import signal
import socket
import ssl
import stat
import threading
import time
from collections.abc import Sequence
from pathlib import Path
from types import FrameType
from typing import IO

import msgspec
import uvicorn
from starlette.routing import BaseRoute

from netloom.api import explain
from netloom.api.compute import routes as compute
from netloom.api.hosts import endpoints
from netloom.api.hosts.wake import PAUSE_SECONDS
from netloom.api.http import Services
from netloom.api.identity import tokens as identity
from netloom.api.image import images as image
from netloom.api.networking import routes
from netloom.api.networking.policy import policy_of
from netloom.identity.bootstrap import bootstrap, first_users, is_bootstrapped
from netloom.identity.tokens import Tokens
from netloom.image import files
from netloom.keeper.clock import Clock, was_set, was_set_back_meanwhile
from netloom.keeper.loop import Memory, tick
from netloom.model.cloud import Image
from netloom.model.errors import UserError
from netloom.model.files import write_whole
from netloom.model.server_settings import ServerSettings, Settings
from netloom.network.hosts import not_heard
from netloom.server import logs
from netloom.server.app import compose
from netloom.server.patience import PatientProtocol
from netloom.store import Store, migrate

log = logging.getLogger("netloom.server")

GRACE_SECONDS = 10
"""How long requests that are being answered may take after SIGTERM."""

TLS_CIPHERS = "ECDHE+AESGCM:ECDHE+CHACHA20"
"""Of TLS 1.2: forward secrecy and authenticated encryption only, none with CBC. Those of TLS 1.3 are all like that."""

_KEEPALIVE = ((socket.TCP_KEEPIDLE, 60), (socket.TCP_KEEPINTVL, 15), (socket.TCP_KEEPCNT, 4))
"""A connection that has been silent for a minute is asked every 15 s; after four times without an answer it ends."""

PASSWORDS = "first-passwords.json"
"""In the state folder, mode 0600: the passwords that admin and demo got at the first start."""


def run(settings: Settings) -> None:
    """Serve until SIGTERM or SIGINT. Raises UserError for what the operator can mend."""
    # Database, secrets, images, sockets: all of it is the server's alone.
    os.umask(0o077)
    # Each client and each host holds a connection; what a shell allows by default is soon used up.
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    logs.to_stderr(settings.server.log_level)
    policy_of(settings.server.policy_file)  # a mistake in it is said now, not at the first request
    sockets = listen(settings.server)
    store = open_database(settings.server)
    alone = hold(store.file)
    tokens = Tokens.open(Path(settings.server.state_dir), settings.identity.token_seconds)
    was_set_back_meanwhile(store, time.time())
    with store.reader() as reader:
        away = not_heard(reader, time.time())
    services = Services.start(store, settings, tokens, away)
    try:
        if not is_bootstrapped(store):
            bootstrap(store, first_users(*first_passwords(services.state_dir / PASSWORDS)))
        with store.reader() as reader:
            # Data of a queued image was put in place by a server that was killed before it could say so.
            images = {image.id for image in reader.list(Image) if image.status != "queued"}
        files.sweep(services.state_dir, images)
        _Process(services, settings.server).run(sockets)
    finally:
        services.feed.stop()
        services.feed.join()
        services.stop()
        store.close()
        alone.close()
        for path in settings.server.agent_sockets.values():
            with contextlib.suppress(OSError):
                Path(path).unlink()


def all_routes() -> list[BaseRoute]:
    """Return the routes of every service."""
    return [
        *identity.routes(),
        *routes.routes(),
        *image.routes(),
        *compute.routes(),
        *endpoints.routes(),
        *explain.routes(),
    ]


def open_database(settings: ServerSettings) -> Store:
    """Open the database; a new one is made, an old one is never upgraded behind the operator's back."""
    state_dir = Path(settings.state_dir)
    try:
        state_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(f"cannot make the state folder {state_dir}: {error.strerror}") from error
    store = Store.open(settings.database_url)
    version = store.version()
    if not version:
        store.upgrade()
    elif migrate.is_newer(version):
        raise UserError(
            f"the database is at version {version}, which this netloom does not know: it was written by a newer one; "
            "use that"
        )
    elif version != migrate.head():
        raise UserError(
            f"the database is at version {version}, this netloom needs {migrate.head()}: "
            "run `netloom db upgrade` (back it up first)"
        )
    else:
        store.check()
    return store


def hold(database: Path) -> IO[bytes]:
    """Hold the database against a second server for as long as the returned file is open.

    Changes of another process would reach this one's hosts late, and both would schedule.
    """
    path = database.with_name(f"{database.name}.lock")
    try:
        held = path.open("ab")
    except OSError as error:
        raise UserError(f"cannot make {path}: {error.strerror}") from error
    try:
        fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        held.close()
        raise UserError(f"another server uses the database {database}: stop that first") from error
    return held


def first_passwords(path: Path) -> tuple[str, str]:
    """Return the passwords of admin and demo in a new cloud: those in the file, made where it is missing.

    They hold for users that are made now; a password changed later stands, whatever the file says.
    """
    try:
        if not path.exists():
            made = {"admin": secrets.token_urlsafe(18), "demo": secrets.token_urlsafe(18)}
            write_whole(path, msgspec.json.encode(made) + b"\n")
        first = msgspec.json.decode(path.read_bytes(), type=dict[str, str])
        return first["admin"], first["demo"]
    except OSError as error:
        raise UserError(f"cannot read or make {path}: {error.strerror}") from error
    except (KeyError, msgspec.MsgspecError) as error:
        raise UserError(
            f"{path} must hold the passwords of admin and demo as JSON: {error}"
        ) from error


def listen(settings: ServerSettings) -> list[socket.socket]:
    """Bind the API's port and one unix socket a host, before anything else is touched."""
    host, port = settings.address
    if not _is_loopback(host) and settings.auth == "trusted-headers":
        raise UserError(
            f"{settings.listen} can be reached from other machines, and with trusted headers anybody there would "
            'be an administrator: set [server] auth = "token"'
        )
    if not _is_loopback(host) and not settings.tls_certificate and not settings.plain_http_anywhere:
        raise UserError(
            f"{settings.listen} can be reached from other machines, and tokens would travel in the clear: "
            "set [server] tls_certificate and tls_key (or plain_http_anywhere = true behind a TLS proxy)"
        )
    if settings.tls_certificate:
        try:
            ssl.create_default_context().load_cert_chain(settings.tls_certificate, settings.tls_key)
        except OSError as error:
            raise UserError(
                f"cannot read [server] tls_certificate {settings.tls_certificate} with tls_key "
                f"{settings.tls_key}: {error.strerror or error}"
            ) from error
    sockets = [_tcp(host, port)]
    try:
        sockets += [_unix(name, Path(path)) for name, path in settings.agent_sockets.items()]
    except BaseException:
        for each in sockets:
            each.close()
        raise
    return sockets


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _tcp(host: str, port: int) -> socket.socket:
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM
        )[0]
        bound = socket.socket(family, kind, protocol)
        bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        # Every connection takes these over: a client whose machine is gone does not hold its half upload for good.
        bound.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        for option, value in _KEEPALIVE:
            bound.setsockopt(socket.IPPROTO_TCP, option, value)
        bound.bind(address)
        bound.listen(2048)
    except OSError as error:
        why = {
            errno.EADDRINUSE: "another process has it: stop that, or set [server] listen",
            errno.EADDRNOTAVAIL: "this machine has no such address",
            errno.EACCES: "ports below 1024 need root",
        }.get(error.errno or 0, error.strerror or str(error))
        raise UserError(f"cannot listen on {host}:{port}: {why}") from error
    bound.setblocking(False)
    return bound


def _unix(name: str, path: Path) -> socket.socket:
    if len(os.fsencode(path)) > 107:
        raise UserError(
            f"the agent socket of {name} has too long a path (107 bytes at most): {path}"
        )
    bound = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        if path.exists() and stat.S_ISSOCK(path.stat().st_mode):
            # Left over, or alive? Only who answers is alive.
            with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
                try:
                    probe.connect(str(path))
                except OSError:
                    path.unlink()
                else:
                    raise UserError(f"another server answers on the agent socket of {name}: {path}")
        bound.bind(str(path))
        bound.listen(128)
    except OSError as error:
        bound.close()
        raise UserError(
            f"cannot make the agent socket of {name}, {path}: {error.strerror}"
        ) from error
    bound.setblocking(False)
    return bound


class _Process(uvicorn.Server):
    """uvicorn with the feed's life bound to its own: streams end before connections are waited for."""

    def __init__(self, services: Services, settings: ServerSettings) -> None:
        self.services = services
        super().__init__(
            uvicorn.Config(
                compose(services, all_routes()),
                loop="uvloop",
                http=PatientProtocol,
                ws="none",
                lifespan="off",
                log_config=None,
                access_log=False,
                server_header=False,
                # Whom a proxy asks for is believed by `heads`, of the proxies that the settings name.
                proxy_headers=False,
                timeout_graceful_shutdown=GRACE_SECONDS,
                ssl_certfile=settings.tls_certificate or None,
                ssl_keyfile=settings.tls_key or None,
                ssl_ciphers=TLS_CIPHERS,
            )
        )

    def run(self, sockets: list[socket.socket] | None = None) -> None:
        # uvicorn raises the signal that ended it once more when it is done; the process goes on to tidy up.
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, _go_on)
        super().run(sockets)

    async def startup(self, sockets: Sequence[socket.socket] | None = None) -> None:
        self.services.feed.start()
        self._keeper = threading.Thread(target=self._keep, name="keeper", daemon=True)
        self._keeper.start()
        await super().startup(list(sockets or ()))
        log.info("ready: %s", self.services.settings.server.url)

    def _keep(self) -> None:
        """Let the keeper work once a second, until the server goes down."""
        services, memory, clock = self.services, Memory(), Clock()
        while not services.feed.stopped:
            try:
                now = time.time()  # once: a clock that is set after this is found by the next tick
                if by := clock.moved(now):
                    services.away = was_set(services.store, services.away, by, now)
                    # As after a restart: what is timed by the old clock begins anew.
                    memory = Memory(alive=memory.alive)
                tick(
                    services.store,
                    services.settings.network,
                    services.settings.compute,
                    memory,
                    now,
                    services.away,
                )
                if services.tokens.era_is_over():
                    with services.store.writer(actor="keeper") as w:
                        services.tokens.next_era(w)
            except UserError as error:
                # A full disk, say: nothing of ours is wrong, and the operator can mend it.
                log.error("the keeper cannot work: %s", error)
                services.feed.sleep(PAUSE_SECONDS)
            except Exception:
                # The next tick finds what this one did not do.
                log.exception("the keeper failed")
            services.feed.sleep(1.0)

    async def shutdown(self, sockets: Sequence[socket.socket] | None = None) -> None:
        self.services.feed.stop()
        await super().shutdown(list(sockets or ()))
        self._keeper.join(GRACE_SECONDS)


def _go_on(_number: int, _frame: FrameType | None) -> None:
    """Let a signal pass: uvicorn has seen it already."""
