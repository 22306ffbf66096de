"""The fixture `lab`: a running cloud of three hosts, shared by all tests of the run."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.support.running_lab import RunningLab, own_lab


@pytest.fixture(scope="session")
def lab() -> Iterator[RunningLab]:
    """A lab of its own name and folder; removed at the end of the run, whatever happened in it."""
    with own_lab("tests", 2) as running:
        yield running
