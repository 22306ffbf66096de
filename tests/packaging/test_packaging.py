"""The files that a fresh machine starts from."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest

TOP = Path(__file__).parents[2]


@pytest.mark.parametrize(
    "name", ["agent", "server", "dev", "article-neutron", "article-nova", "article-glance"]
)
def test_requirements_are_pinned_by_hash_and_name_no_index(name: str) -> None:
    text = (TOP / f"requirements/{name}.txt").read_text()
    names = re.findall(r"^([A-Za-z0-9._-]+)==\S+ \\$", text, re.MULTILINE)
    assert names
    assert len(re.findall(r"^[^\s#]", text, re.MULTILINE)) == len(names)
    assert "--index-url" not in text
    assert "--find-links" not in text
    assert "file:" not in text


def test_the_agent_needs_nothing_of_the_server() -> None:
    text = (TOP / "requirements/agent.txt").read_text().lower()
    for server_only in ("neutron-lib", "sqlalchemy", "starlette", "eventlet"):
        assert f"\n{server_only}==" not in text


@pytest.mark.parametrize(
    "script",
    [
        "tools/install-debian",
        "tools/install-python",
        "tools/requirements",
        "tools/article-clients",
        ".ci/run",
    ],
)
def test_scripts_are_sound_and_executable(script: str) -> None:
    path = TOP / script
    assert path.stat().st_mode & 0o111
    subprocess.run(["sh", "-n", str(path)], check=True)
