"""What all tests share: where tests that need root run, and when they are skipped."""

from __future__ import annotations

import os

import pytest


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Put every test that needs root into one xdist group (one worker, one after another)."""
    for item in items:
        if item.get_closest_marker("root") is None:
            continue
        item.add_marker(pytest.mark.xdist_group("root"))
        if os.geteuid() != 0:
            item.add_marker(pytest.mark.skip(reason="needs root"))
