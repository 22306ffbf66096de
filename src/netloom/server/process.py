"""The server as a process: database, secrets, sockets, threads, and an orderly end."""

from __future__ import annotations

import contextlib
import ctypes
import logging
import os
import resource
import signal
import socket
import threading
import time
from collections.abc import Sequence
from pathlib import Path
from types import FrameType

import uvicorn
from starlette.routing import BaseRoute

from netloom.api import explain
from netloom.api.compute import routes as compute
from netloom.api.hosts import endpoints
from netloom.api.identity import tokens as identity
from netloom.api.image import images as image
from netloom.api.networking import routes
from netloom.api.networking.policy import policy_of
from netloom.api.services import Services
from netloom.identity.bootstrap import bootstrap, first_users, is_bootstrapped
from netloom.identity.tokens import Tokens
from netloom.image import files
from netloom.keeper.clock import Clock, was_set, was_set_back_meanwhile
from netloom.keeper.loop import Memory, tick
from netloom.keeper.statuses import PAUSE_SECONDS
from netloom.model.cloud import Image
from netloom.model.errors import UserError
from netloom.model.server_settings import ServerSettings, Settings
from netloom.network.liveness import not_heard
from netloom.server import logs
from netloom.server.app import compose
from netloom.server.database import PASSWORDS, first_passwords, hold, open_database
from netloom.server.patience import PatientProtocol
from netloom.server.sockets import listen

log = logging.getLogger("netloom.server")

KEPT_SECONDS = 35
"""How long a connection on which nothing is asked stays open: longer than a host is silent between two heartbeats."""

GRACE_SECONDS = 10
"""How long requests that are being answered may take after SIGTERM."""

LARGE_BYTES = 256 * 1024
_M_MMAP_THRESHOLD, _M_ARENA_MAX = -3, -8
"""Parameters of mallopt(3)."""

TLS_CIPHERS = "ECDHE+AESGCM:ECDHE+CHACHA20"
"""Of TLS 1.2: forward secrecy and authenticated encryption only, none with CBC. Those of TLS 1.3 are all like that."""


def run(settings: Settings) -> None:
    """Serve until SIGTERM or SIGINT. Raises UserError for what the operator can mend."""
    # Database, secrets, images, sockets: all of it is the server's alone.
    os.umask(0o077)
    _give_memory_back()
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
                timeout_keep_alive=KEPT_SECONDS,
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


def _give_memory_back() -> None:
    """Have the C library give large blocks back to the system as soon as they are free, where it is glibc.

    A snapshot is megabytes of JSON. By default glibc keeps blocks of that size, in an arena for each thread: after the
    first snapshots of 300 hosts the server had 160 MiB more that nothing used.
    """
    with contextlib.suppress(OSError, AttributeError):
        mallopt = ctypes.CDLL(None).mallopt
        mallopt(_M_MMAP_THRESHOLD, LARGE_BYTES)
        mallopt(_M_ARENA_MAX, 2)


def _go_on(_number: int, _frame: FrameType | None) -> None:
    """Let a signal pass: uvicorn has seen it already."""
