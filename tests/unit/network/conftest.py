from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.records import Records, new_store


@pytest.fixture
def world(tmp_path: Path) -> Iterator[Records]:
    """A transaction on a new store; what a test leaves in it is rolled back with its folder."""
    with new_store(tmp_path) as store, store.writer(actor="test") as w:
        yield Records(w)
