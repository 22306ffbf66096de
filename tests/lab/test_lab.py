"""A whole lab: server, agents and a cloud that can be used, and nothing of it left afterwards."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from netloom.lab import content, processes, state, topology
from tests.support.lab_traces import picture
from tests.support.pings import unanswered
from tests.support.running_lab import RunningLab

pytestmark = [pytest.mark.root, pytest.mark.slow]


@pytest.fixture
def folder() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="nl") as name:
        yield Path(name)
        for lab in (Path(name) / "labs").glob("[a-z]*"):
            netloom(Path(name), "lab", "down", "--name", lab.name)


def netloom(folder: Path, *words: str, check: bool = True) -> subprocess.CompletedProcess[str]:
    done = subprocess.run(
        [sys.executable, "-m", "netloom", *words],
        env={**os.environ, "NETLOOM_STATE": str(folder)},
        capture_output=True,
        text=True,
        timeout=180,
        check=False,
    )
    assert "Traceback" not in done.stderr, done.stderr
    assert not check or done.returncode == 0, done.stderr + done.stdout
    return done


def test_a_lab_is_ready_to_use(lab: RunningLab) -> None:
    with lab.client() as client:
        flavors = client.get("/compute/v2.1/flavors")["flavors"]
        assert {flavor["name"] for flavor in flavors} >= {name for name, *_ in content.FLAVORS}
        images = client.get("/image/v2/images")["images"]
        assert [image["status"] for image in images if image["name"] == "small"] == ["active"]
        networks = client.get("/networking/v2.0/networks", name="public")["networks"]
        assert (
            networks[0]["router:external"] and networks[0]["provider:physical_network"] == "public"
        )
        agents = client.get("/networking/v2.0/agents")["agents"]
        assert {agent["host"] for agent in agents if agent["alive"]} == {
            "network1",
            "compute1",
            "compute2",
        }
    with lab.openstack("demo") as client:
        assert client.json("network", "list", "--external")


def test_secrets_are_their_owner_s_alone(lab: RunningLab) -> None:
    for name in (
        "clouds.yaml",
        "server.toml",
        "lab.json",
        "hosts/compute1/secret",
        "server/first-passwords.json",
    ):
        assert (lab.lab.directory / name).stat().st_mode & 0o077 == 0, name


def test_the_api_is_on_loopback_only_and_out_of_hosts_reach(lab: RunningLab) -> None:
    listening = subprocess.run(["ss", "-Hltn"], capture_output=True, text=True, check=True).stdout
    ours = [
        line.split()[3]
        for line in listening.splitlines()
        if line.split()[3].endswith(f":{lab.state.port}")
    ]
    assert ours == [f"127.0.0.1:{lab.state.port}"]
    probe = f"busybox nc -w 2 127.0.0.1 {lab.state.port} </dev/null && echo reached || true"
    assert "reached" not in lab.exec("compute1", "sh", "-c", probe)
    # A host has its own agent's socket and no other's.
    assert lab.exec("compute1", "ls", "/run/netloom/server").split() == ["api.sock"]


def test_up_down_and_two_labs_side_by_side(folder: Path) -> None:
    before = picture(folder)
    first = netloom(folder, "lab", "up", "--name", "one", "--hosts", "1", "--bare")
    assert "ready after" in first.stdout
    again = netloom(folder, "lab", "up", "--name", "one", check=False)
    assert again.returncode == 2
    assert again.stderr.count("\n") == 1 and "running already" in again.stderr
    netloom(folder, "lab", "up", "--name", "two", "--hosts", "1", "--bare")

    exports = netloom(folder, "lab", "env", "--name", "one").stdout
    assert "OS_AUTH_URL='http://127.0.0.1:" in exports and "OS_PASSWORD=" not in exports
    plain = netloom(folder, "lab", "env", "--name", "one", "--plain").stdout
    assert "OS_AUTH_URL='http://127.0.0.1:" in plain and "OS_PASSWORD='" in plain
    status = json.loads(netloom(folder, "lab", "status", "--name", "one", "--json").stdout)
    assert status["well"] and [host["host"] for host in status["hosts"]] == ["network1", "compute1"]
    run = netloom(
        folder,
        "lab",
        "exec",
        "--name",
        "two",
        "outside",
        "--",
        "sh",
        "-c",
        "pwd; exit 7",
        check=False,
    )
    assert run.returncode == 7 and run.stdout.strip() == str(Path.cwd())
    wrong = netloom(folder, "lab", "exec", "--name", "two", "compute9", "--", "true", check=False)
    assert wrong.returncode == 2 and "there are compute1, fabric, network1, outside" in wrong.stderr

    # Through both switches of the other lab while this one goes.
    tunnel_ip = next(node.tunnel_ip for node in topology.nodes(1) if node.name == "compute1")
    ping = subprocess.Popen(
        [
            *(sys.executable, "-m", "netloom", "lab", "exec", "--name", "two", "network1", "--"),
            *("ping", "-n", "-i", "0.05", tunnel_ip),
        ],
        env={**os.environ, "NETLOOM_STATE": str(folder)},
        stdout=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    assert ping.stdout is not None
    begun = ping.stdout.readline() + ping.stdout.readline()
    netloom(folder, "lab", "down", "--name", "one")
    os.killpg(ping.pid, signal.SIGINT)
    assert not unanswered(begun + ping.communicate(timeout=10)[0])
    assert netloom(folder, "lab", "status", "--name", "two").returncode == 0
    netloom(folder, "lab", "down", "--name", "two")
    assert picture(folder) == before
    assert not list((folder / "labs").glob("[a-z]*"))


def test_a_crashed_lab_is_named_and_removed(folder: Path) -> None:
    before = picture(folder)
    netloom(folder, "lab", "up", "--hosts", "1", "--bare")
    lab = state.Lab("netloom", folder / "labs/netloom")
    known = lab.load()
    assert known is not None
    for name in ("server", "compute1", "fabric"):
        os.kill(known.processes[name].pid, signal.SIGKILL)
    status = netloom(folder, "lab", "status", check=False)
    assert status.returncode == 1 and "the server is NOT running" in status.stdout
    for process in known.processes.values():
        if process.alive:
            os.kill(process.pid, signal.SIGKILL)
    processes.wait_gone(list(known.processes.values()), 5)
    stale = netloom(folder, "lab", "up", check=False)
    assert stale.returncode == 2
    assert stale.stderr.count("\n") == 1 and "netloom lab down" in stale.stderr
    netloom(folder, "lab", "down")
    assert picture(folder) == before


def test_an_up_that_is_killed_half_way_is_named_and_removed(folder: Path) -> None:
    before = picture(folder)
    words = [sys.executable, "-m", "netloom", "lab", "up", "--hosts", "1", "--bare"]
    noted = folder / "labs/netloom/lab.json"
    with subprocess.Popen(
        words,
        env={**os.environ, "NETLOOM_STATE": str(folder)},
        stdout=subprocess.DEVNULL,
        start_new_session=True,
    ) as starting:
        RunningLab.until(lambda: noted.exists() and "compute1" in noted.read_text(), 30)
        os.killpg(starting.pid, signal.SIGKILL)
    noted.write_text(noted.read_text()[:40])
    for verb in (["up"], ["status"], ["exec", "compute1", "--", "true"], ["env"]):
        refused = netloom(folder, "lab", *verb, check=False)
        assert refused.returncode == 2
        assert refused.stderr.count("\n") == 1 and "netloom lab down" in refused.stderr
    netloom(folder, "lab", "down")
    assert picture(folder) == before


def test_a_lab_that_cannot_start_leaves_nothing_but_its_logs(folder: Path) -> None:
    before = picture(folder)
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        done = netloom(folder, "lab", "up", "--port", port, check=False)
    assert done.returncode == 2
    assert done.stderr.count("\n") == 1 and f"127.0.0.1:{port} cannot be used" in done.stderr
    assert picture(folder) == before
    assert not (folder / "labs/netloom").exists()
