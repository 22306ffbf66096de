"""The machine's clock is set by hours while the server runs and hosts report."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import pytest

from netloom.agent.link import Link
from netloom.agent.settings import AgentSettings
from netloom.model import HostFacts
from tests.support.serving import serving

pytestmark = pytest.mark.slow

# Python loads it at each start: the clock of the server is what the file says ahead of the machine's.
SITE = """
import pathlib, time
real = time.time
def ahead():
    try:
        return float(pathlib.Path({file!r}).read_text() or 0)
    except (OSError, ValueError):
        return 0.0
time.time = lambda: real() + ahead()
"""
SETTINGS = """auth = "trusted-headers"
agent_sockets = {{ c1 = "{socket}" }}
[network]
agent_down_seconds = 30
[compute]
build_seconds = 600
"""
ADMIN = {"X-Roles": "admin,member,reader", "X-Project-Id": "a" * 32, "X-User-Id": "u"}
FACTS = HostFacts(host="c1", tunnel_ip="192.0.2.1", instance_types=("container",))


def until(condition: Callable[[], bool], what: str, seconds: float = 60) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, what
        time.sleep(0.1)


def test_a_clock_that_is_set_ends_no_build_and_kills_no_host(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ahead = tmp_path / "ahead"
    (tmp_path / "site").mkdir()
    (tmp_path / "site/sitecustomize.py").write_text(SITE.format(file=str(ahead)))
    monkeypatch.setenv("PYTHONPATH", str(tmp_path / "site"))
    settings = SETTINGS.format(socket=tmp_path / "c1.sock")
    with (
        serving(tmp_path, settings) as server,
        httpx.Client(base_url=server.url, headers=ADMIN, timeout=60) as http,
    ):
        file = tmp_path / "secret"
        server.netloom(
            *("host", "add", "c1", "--config", str(server.config), "--secret-file", str(file)),
            *("--role", "network", "--role", "compute"),
            *("--physical-network", "*", "--instance-type", "container"),
        )
        link = Link(
            AgentSettings(host="c1", server=f"unix://{tmp_path}/c1.sock", secret_file=str(file)),
            FACTS,
        )
        link.start(0, "", lambda _step: None, lambda: None)
        try:
            until(lambda: alive(http), "the host does not report")
            server_id = boot(http)
            for set_to, words in (("3600", "forward by 3600 s"), ("-7200", "back by 10800 s")):
                (tmp_path / "aside").write_text(set_to)
                (tmp_path / "aside").replace(ahead)
                until(lambda words=words: f"the clock was set {words}" in server.log, "not noticed")
                until(lambda: alive(http), "the host is dead")
                time.sleep(3)  # the keeper has looked at all that it looks at
                assert status(http, server_id) == "BUILD"
                assert status(http, boot(http)) == "BUILD"
            assert "does not report any more" not in server.log
        finally:
            link.stop()
        # Nor does it live for hours now that it is silent.
        until(lambda: not alive(http), "a host that is silent stays alive", 120)
        until(
            lambda: "host c1 does not report any more" in server.log, "the keeper stands still", 120
        )


def alive(http: httpx.Client) -> bool:
    agents = http.get("networking/v2.0/agents").json()["agents"]
    return bool(agents) and all(agent["alive"] for agent in agents)


def boot(http: httpx.Client) -> str:
    if not http.get("compute/v2.1/flavors").json()["flavors"]:
        flavor = {"name": "tiny", "id": "1", "ram": 64, "vcpus": 1, "disk": 1}
        http.post("compute/v2.1/flavors", json={"flavor": flavor})
        image = {"name": "i", "disk_format": "raw", "container_format": "bare"}
        made = http.post("image/v2/images", json=image).json()["id"]
        octets = {"Content-Type": "application/octet-stream"}
        http.put(f"image/v2/images/{made}/file", content=b"a disk" * 100, headers=octets)
        body: dict[str, Any] = {"network": {"name": "n"}}
        network = http.post("networking/v2.0/networks", json=body).json()["network"]["id"]
        subnet = {"network_id": network, "ip_version": 4, "cidr": "10.0.0.0/24"}
        http.post("networking/v2.0/subnets", json={"subnet": subnet})
    image = http.get("image/v2/images").json()["images"][0]["id"]
    network = http.get("networking/v2.0/networks").json()["networks"][0]["id"]
    body = {
        "server": {
            "name": "s",
            "imageRef": image,
            "flavorRef": "1",
            "networks": [{"uuid": network}],
        }
    }
    answer = http.post("compute/v2.1/servers", json=body)
    assert answer.status_code == 202, answer.text
    return answer.json()["server"]["id"]


def status(http: httpx.Client, server_id: str) -> str:
    return http.get(f"compute/v2.1/servers/{server_id}").json()["server"]["status"]
