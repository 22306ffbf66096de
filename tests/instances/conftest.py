"""The fixture `config`: settings of an agent that has the small image."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support.instances import agent_settings


@pytest.fixture
def config(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Settings of an agent that has the small image already."""
    monkeypatch.setenv("NETLOOM_STATE", str(tmp_path / "lab"))
    return agent_settings(tmp_path / "a")
