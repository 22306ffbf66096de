"""Clouds for tests of the Networking API."""

from __future__ import annotations

import contextlib
import os

import pytest

from netloom.api.services import Services
from netloom.identity.tokens import Tokens
from netloom.model import Away
from netloom.model.server_settings import ServerSettings, Settings
from netloom.store import Store
from tests.support.networking import NETWORK, Cloud


@contextlib.contextmanager
def make_clouds(folder):
    """Give out a function that makes clouds with settings of their own."""
    started = []

    def make(network=NETWORK, **server):
        store = Store.open(f"sqlite:///{folder}/{len(started)}.db")
        store.upgrade()
        settings = Settings(
            server=ServerSettings(
                auth="trusted-headers", state_dir=os.fspath(folder), readers=2, **server
            ),
            network=network,
        )
        tokens = Tokens.open(folder, settings.identity.token_seconds)
        services = Services.start(store, settings, tokens, Away())
        started.append(services)
        return Cloud(services)

    try:
        yield make
    finally:
        for services in started:
            services.stop()
            services.store.close()


@pytest.fixture
def make_cloud(tmp_path):
    """Make clouds with settings of their own."""
    with make_clouds(tmp_path) as make:
        yield make


@pytest.fixture
def cloud(make_cloud):
    return make_cloud()
