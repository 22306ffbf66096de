"""explain over HTTP and on the command line, against a real server and a real database."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time

import pytest
from msgspec import structs

from netloom.model import Status
from netloom.network import status
from netloom.plan import VERSION
from netloom.store import Store
from tests.support import worlds
from tests.support.serving import serving

ORDER = (
    "networks",
    "subnets",
    "security_groups",
    "security_group_rules",
    "images",
    "servers",
    "ports",
    "routers",
    "floatingips",
)


def fill(path, world: worlds.World) -> None:
    store = Store.open(f"sqlite:///{path}")
    store.upgrade()
    with store.writer() as writer:
        for table in ORDER:
            for thing in world.tables.get(table, {}).values():
                writer.insert(thing)
        for name, facts in world.hosts.items():
            writer.put_host(
                name, secret_hash="-", facts=structs.replace(facts, plan_version=VERSION)
            )
    with store.writer() as writer:
        for name in world.hosts:
            if name != "compute2":
                writer.heartbeat(name, time.time(), writer.seq())
        rows = [
            Status(kind="port", id="my2", aspect="l2", seq=1, state="ok"),
            Status(kind="server", id="vm-my2", aspect="instance", seq=1, state="ok"),
        ]
        writer.put_status("compute1", rows, "2026-01-01T00:00:00Z")
        status.refresh(writer, [("port", "my2"), ("server", "vm-my2")])
        # What was written to the statuses is a change that the hosts have heard of as well.
        for name in world.hosts:
            if name != "compute2":
                writer.heartbeat(name, time.time(), writer.seq())
    store.close()


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    folder = tmp_path_factory.mktemp("explain")
    (folder / "state").mkdir()
    fill(folder / "state" / "netloom.db", worlds.walkthrough_b())
    with serving(folder) as running:
        yield running


def netloom(server, *words: str, user: str = "admin") -> subprocess.CompletedProcess[str]:
    passwords = json.loads((server.state / "first-passwords.json").read_text())
    environment = os.environ | {
        "OS_AUTH_URL": server.url + "/identity/v3",
        "OS_USERNAME": user,
        "OS_PASSWORD": passwords.get(user, "wrong"),
        "OS_PROJECT_NAME": user,
    }
    command = [sys.executable, "-m", "netloom", "explain", *words]
    return subprocess.run(
        command, env=environment, capture_output=True, text=True, timeout=60, check=False
    )


def test_reachable(server):
    done = netloom(server, "outside", "vm-my2", "--protocol", "tcp", "--port", "22")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "REACHABLE: 198.51.100.20 answers tcp/22" in done.stdout
    assert "$ ip netns exec qrouter-router1 nft list table ip netloom" in done.stdout


def test_not_reachable(server):
    done = netloom(server, "outside", "vm-my2", "--protocol", "udp", "--port", "53", "--json")
    assert done.returncode == 1, done.stdout + done.stderr
    answer = json.loads(done.stdout)
    assert answer["verdict"] == "unreachable"
    assert answer["decided_by"] == "security_group/sg-all"


def test_a_packet_s_size(server):
    done = netloom(server, "outside", "vm-my2", "--size", "1450")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "A packet of 1450 bytes fits: the path's MTU is 1450." in done.stdout
    done = netloom(server, "outside", "vm-my2", "--size", "1451", "--json")
    assert done.returncode == 1, done.stdout + done.stderr
    answer = json.loads(done.stdout)
    assert (answer["cause"], answer["decided_by"]) == ("too_big", "network/private")


def test_mistakes_are_one_line(server):
    for words in (
        ("nobody", "vm-my2"),
        ("vm-my2", "outside", "--protocol", "tcp"),
        ("vm-my2", "outside", "--size", "9"),
        ("vm-my2", "outside", "--size", "large"),
    ):
        done = netloom(server, *words)
        assert done.returncode == 2
        assert done.stderr.startswith("netloom: ")
        assert done.stderr.count("\n") == 1
    refused = netloom(server, "vm-my2", "outside", user="nobody")
    assert refused.returncode == 2
    assert refused.stderr.endswith(
        "/v3 does not take the user nobody with this password and project\n"
    )


def test_not_for_everybody(server):
    done = netloom(server, "outside", "vm-my2", user="demo")
    assert done.returncode == 2
    assert "administrator" in done.stderr
