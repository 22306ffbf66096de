"""When an agent takes its ordinary routers down by itself."""

from __future__ import annotations

import time
from pathlib import Path
from types import SimpleNamespace

import pytest
from msgspec.structs import replace

from netloom.agent import apart
from netloom.agent.apart import BOOT_SECONDS, Apart
from netloom.dataplane.linux import netns
from netloom.model.hosts import HostFacts, HostView
from netloom.model.networking import Replica, Router

VIEW = HostView(
    seq=1,
    facts=HostFacts(host="net1"),
    routers={"r": Router(id="r"), "h": Router(id="h", ha=True, vrid=1)},
)
SILENT, WELL = "no answer to ping from net2 at 192.0.2.2", ""


@pytest.fixture
def run_dir(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(netns, "DIRECTORY", tmp_path / "netns")
    return tmp_path


def make(run_dir: Path, failover: float = 15.0) -> tuple[Apart, SimpleNamespace]:
    link = SimpleNamespace(failover=failover, spoke=0.0)
    return Apart(run_dir, link), link  # type: ignore[arg-type]  what it asks of a link


def served(one: Apart) -> set[str]:
    return set(one.served(VIEW).routers)


def test_it_gives_them_up_when_neither_server_nor_peers_are_heard(run_dir: Path) -> None:
    one, link = make(run_dir)
    assert one.heard() and served(one) == {"r", "h"}
    now = link.spoke = time.monotonic()
    assert not one.look(now + 10, [SILENT])
    assert not one.look(now + 100, [SILENT, WELL])
    assert not one.look(now + 100, [])  # alone in its cloud: nobody else could have them
    assert one.look(now + 14, [SILENT, SILENT])
    assert served(one) == {"h"}
    assert not one.look(now + 15, [WELL, WELL])  # the others may have moved them meanwhile
    assert served(one) == {"h"}
    assert one.heard() and served(one) == {"r", "h"}


def test_of_a_distributed_router_the_snat_alone_is_given_up(run_dir: Path) -> None:
    one, _ = make(run_dir)
    spread = Router(id="d", distributed=True, replicas=(Replica("net1", 100),))
    view = replace(VIEW, routers={"d": spread})
    assert one.served(view).routers == {"d": replace(spread, replicas=())}
    one.heard()
    assert one.served(view) is view


def test_where_routers_never_move_they_stay(run_dir: Path) -> None:
    one, link = make(run_dir, failover=0.0)
    one.heard()
    now = link.spoke = time.monotonic()
    assert not one.look(now + 1000, [SILENT]) and served(one) == {"r", "h"}


def test_after_a_boot_it_waits_for_the_server_for_a_while(run_dir: Path) -> None:
    one, _ = make(run_dir)
    now = time.monotonic()
    assert served(one) == {"h"}
    assert not one.look(now + 5, [])
    assert one.look(now + BOOT_SECONDS + 1, []) and served(one) == {"r", "h"}


def test_an_agent_that_is_started_again_goes_on(run_dir: Path) -> None:
    one, _ = make(run_dir)
    one.heard()
    again, _ = make(run_dir)
    assert served(again) == {"r", "h"}
    assert again.look(time.monotonic() + 14, [SILENT])  # what the server said is remembered
    (run_dir / apart.FILE).unlink()
    (run_dir / "netns").mkdir()
    (run_dir / "netns" / "qrouter-r").touch()
    assert served(make(run_dir)[0]) == {"r", "h"}


def test_without_a_server_at_all_nothing_waits(run_dir: Path) -> None:
    assert set(Apart(run_dir, None).served(VIEW).routers) == {"r", "h"}
