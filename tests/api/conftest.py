"""Clouds for tests of the Networking API."""

from __future__ import annotations

import os

import pytest
from tests.support.networking import NETWORK, Cloud

from netloom.api.http import Services
from netloom.api.settings import ServerSettings, Settings
from netloom.identity.tokens import Tokens
from netloom.store import Store


@pytest.fixture
def make_cloud(tmp_path):
    """Make clouds with settings of their own."""
    started = []

    def make(network=NETWORK, **server):
        store = Store.open(f"sqlite:///{tmp_path}/{len(started)}.db")
        store.upgrade()
        settings = Settings(
            server=ServerSettings(auth="trusted-headers", state_dir=os.fspath(tmp_path), readers=2, **server),
            network=network,
        )
        services = Services.start(store, settings, Tokens.open(tmp_path, settings.identity.token_seconds))
        started.append(services)
        return Cloud(services)

    yield make
    for services in started:
        services.stop()
        services.store.close()


@pytest.fixture
def cloud(make_cloud):
    return make_cloud()
