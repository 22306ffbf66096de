from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support_rules import World, new_store


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    """A transaction on a new store; what a test leaves in it is rolled back with its folder."""
    with new_store(tmp_path) as store, store.writer(actor="test") as w:
        yield World(w)
