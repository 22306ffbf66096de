"""The fixture `lab`: a running cloud of three hosts, shared by all tests of the run."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator

import pytest

from netloom.lab import state, up
from tests.support.running_lab import RunningLab


@pytest.fixture(scope="session")
def lab() -> Iterator[RunningLab]:
    """A lab of its own name and folder; removed at the end of the run, whatever happened in it."""
    # Not tmp_path: unix sockets have short paths only.
    with tempfile.TemporaryDirectory(prefix="nl") as folder:
        before = os.environ.get("NETLOOM_STATE")
        os.environ["NETLOOM_STATE"] = folder
        try:
            found = state.find("tests")
            with up.temporary(found, 2) as running:
                yield RunningLab(found, running)
        finally:
            if before is None:
                os.environ.pop("NETLOOM_STATE", None)
            else:
                os.environ["NETLOOM_STATE"] = before
