"""The demo, twice on one lab: both walkthroughs with the real client, and it removes its own objects only."""

from __future__ import annotations

import subprocess
import sys

import pytest

from tests.support.running_lab import RunningLab

pytestmark = [pytest.mark.root, pytest.mark.slow]


def demo(lab: RunningLab) -> str:
    done = subprocess.run(
        [sys.executable, "-m", "netloom", "demo", "--name", lab.lab.name],
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr
    return done.stdout


def test_the_demo_holds_twice_and_touches_nobody_else_s_objects(lab: RunningLab) -> None:
    with lab.client() as client:
        mine = client.post("/networking/v2.0/networks", {"network": {"name": "mine"}})["network"][
            "id"
        ]
    try:
        for _ in range(2):
            told = demo(lab)
            assert "Both walkthroughs hold." in told
            assert "arrives at 10.10.0." in told
        with lab.client() as client:
            assert client.get(f"/networking/v2.0/networks/{mine}")["network"]["name"] == "mine"
            assert len(client.get("/compute/v2.1/servers")["servers"]) == 2
    finally:
        with lab.client() as client:
            client.delete(f"/networking/v2.0/networks/{mine}")
