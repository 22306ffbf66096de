"""What handlers may reach: the store, settings, threads and the memory of the process, one object for all of it."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from netloom.api.fair import FairPool
from netloom.api.hosts.presence import Presence
from netloom.api.hosts.wake import Feed
from netloom.identity.brake import Brake
from netloom.identity.tokens import Tokens
from netloom.model import Away
from netloom.model.server_settings import Settings
from netloom.model.structs import compile_structs
from netloom.network.liveness import heartbeat_seconds
from netloom.scope import Scope
from netloom.store import Committer, Store

WORKERS = 4
"""Threads for slow work: data of images, large bodies."""

HOST_THREADS = 3
"""Threads for what hosts ask for: no client waits behind a thousand hosts that come at once, and no host behind lists."""

COSTLY_THREADS = 2
"""Threads for passwords and new keys: a password check in each takes 64 MiB and tens of milliseconds."""

COSTLY_OF_ONE, COSTLY = 32, 256
"""How many of these may wait: of one client address, and of all."""


@dataclass
class Services:
    """What handlers may reach; one for the process (`services_of(request)`).

    All of it stays as it was made, but for `away`, which moves with the clock when that is set.
    """

    store: Store
    settings: Settings
    tokens: Tokens
    scope: Scope
    feed: Feed
    writer: Committer
    readers: ThreadPoolExecutor
    hosts: ThreadPoolExecutor
    workers: ThreadPoolExecutor
    costly: FairPool
    brake: Brake
    away: Away
    presence: Presence

    @classmethod
    def start(cls, store: Store, settings: Settings, tokens: Tokens, away: Away) -> Services:
        """Start the threads: one that writes, `[server] readers` that read, a few for slow work."""
        compile_structs()
        scope = Scope(store)
        return cls(
            store=store,
            settings=settings,
            tokens=tokens,
            scope=scope,
            feed=Feed(store, scope),
            writer=Committer(store),
            readers=ThreadPoolExecutor(settings.server.readers, thread_name_prefix="reader"),
            hosts=ThreadPoolExecutor(HOST_THREADS, thread_name_prefix="host"),
            workers=ThreadPoolExecutor(WORKERS, thread_name_prefix="worker"),
            costly=FairPool(COSTLY_THREADS, COSTLY_OF_ONE, COSTLY),
            brake=Brake(),
            away=away,
            presence=Presence(heartbeat_seconds(settings.network)),
        )

    def stop(self) -> None:
        """Finish what was begun, then end the threads."""
        self.writer.stop()
        self.readers.shutdown(wait=True)
        self.hosts.shutdown(wait=True)
        self.workers.shutdown(wait=True)
        self.costly.stop()

    @property
    def state_dir(self) -> Path:
        """Where the server keeps its files."""
        return Path(self.settings.server.state_dir)
