from pathlib import Path

import pytest

from netloom.identity import bootstrap
from netloom.identity.tokens import Tokens, load_key
from netloom.store import Store


class Clock:
    """A clock that the test moves."""

    def __init__(self) -> None:
        self.now = 1_700_000_000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def store(tmp_path: Path):
    store = Store.open(f"sqlite:///{tmp_path}/netloom.db")
    store.upgrade()
    bootstrap.bootstrap(store, bootstrap.first_users("adminpw", "demopw"))
    yield store
    store.close()


@pytest.fixture
def tokens(tmp_path: Path, clock: Clock):
    return Tokens(load_key(tmp_path / "state" / "token.key"), 3600, clock)
