"""What an agent is told may be nonsense, damaged, or end its process: it hears the next view all the same."""

from __future__ import annotations

import json
import logging
import os
from pathlib import Path
from typing import Any

import msgspec
import pytest

from netloom.agent import link, status, view
from netloom.agent.link import Step
from netloom.agent.planning import plan_around
from netloom.agent.trial import Trial
from netloom.model import (
    Chassis,
    FixedIP,
    HostFacts,
    HostView,
    Network,
    Port,
    Status,
    Subnet,
    ViewDelta,
)
from netloom.model.hoststate import HostState
from netloom.plan import plan
from tests.unit.agent.test_loop import FACTS, agent_without_a_switch

HOST = HostFacts(host="a", tunnel_ip="192.0.2.1")


def cloud(*bad: str) -> HostView:
    """Twenty networks with a port each; the addresses of those in `bad` are none."""
    numbers = [str(number) for number in range(20)]
    ports = {
        f"p{n}": Port(
            id=f"p{n}",
            network_id=f"n{n}",
            key=int(n) + 1,
            mac_address="fa:16:3e:00:00:01",
            host="a",
            fixed_ips=(
                FixedIP(subnet_id=f"s{n}", ip_address="nonsense" if n in bad else "10.0.0.5"),
            ),
        )
        for n in numbers
    }
    return HostView(
        seq=1,
        facts=HOST,
        chassis={"a": Chassis(host="a", tunnel_ip="192.0.2.1")},
        networks={f"n{n}": Network(id=f"n{n}", key=int(n) + 1) for n in numbers},
        subnets={
            f"s{n}": Subnet(
                id=f"s{n}", network_id=f"n{n}", cidr="10.0.0/999" if n in bad else "10.0.0.0/24"
            )
            for n in numbers
        },
        ports=ports,
    )


def test_what_cannot_be_planned_is_left_out_and_the_rest_goes_on() -> None:
    whole = plan(cloud())
    with pytest.raises(ValueError):
        plan(cloud("3", "17"))
    state, left = plan_around(cloud("3", "17"), HostState())
    assert {id[1:] for _, id in left} == {"3", "17"} and all(
        "planned" in why for why in left.values()
    )
    of_others = {
        key: item
        for key, item in whole.objects.items()
        if not {"n3", "n17", "p3", "p17", "s3", "s17"} & {o.id for o in item.origin}
    }
    assert len(of_others) > 100 and of_others.items() <= state.objects.items()
    assert plan_around(cloud(), state) == (whole, {})


def steps(*views: HostView) -> list[Step]:
    made: list[Step] = []
    for number, each in enumerate(views, 1):
        tables: dict[str, Any] = {
            table: list(getattr(each, table).values()) for table in ("networks", "subnets", "ports")
        }
        made.append(Step("e", number, ViewDelta(seq=number, snapshot=True, upsert=tables)))
    return made


def test_an_agent_hears_the_view_after_one_that_it_cannot_carry_out(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    caplog.set_level(logging.INFO)
    agent = agent_without_a_switch(tmp_path)
    bad, good = steps(cloud(), cloud())

    def explode(*_: object) -> Any:
        raise RuntimeError("mistake\nof ours")

    monkeypatch.setattr("netloom.agent.planning.Planning.plan_around", explode)
    for event in (lambda: agent._step(bad), lambda: 1 / 0):
        agent.post(event)
        try:
            agent._turn()
        except Exception as error:
            agent._stumble(error)
    agent._turn()
    lines = [r.getMessage() for r in caplog.records if r.levelno >= logging.ERROR]
    assert sum("RuntimeError: mistake of ours" in line for line in lines) == 1
    assert all(line.isprintable() for line in lines) and "Traceback" not in caplog.text
    monkeypatch.undo()
    agent.post(lambda: agent._step(good))
    agent._turn()
    assert (
        agent.view.seq == 2 and not agent._replan and ("bridge", "br-int") in agent._state.objects
    )


def test_a_saved_view_that_ends_the_process_is_left_aside(tmp_path: Path) -> None:
    trial = tmp_path / "trial"
    for digest in ("one", "other"):
        for expected in (True, True, False, False):
            child = os.fork()
            if not child:
                os._exit(0 if Trial(trial).begin(digest) is expected else 1)
            assert os.waitpid(child, 0)[1] == 0
    survivor = Trial(trial)
    assert not survivor.begin("other")
    survivor.end()
    assert Trial(trial).begin("other")
    trial.write_bytes(b"\xff damaged")
    assert Trial(trial).begin("one")


def test_a_saved_view_of_another_version_or_a_torn_one_is_one_line(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / "view.json"
    assert view.load(path, FACTS) is None and not caplog.records  # a first start
    view.save(path, "e", HostView(seq=1, facts=FACTS))
    whole = path.read_bytes()
    for content in (
        b"",
        whole[:-20],
        b"\xff" * 50,
        b"[" * 50_000,
        b'{"version": 9}',
        whole + b"\n}",
    ):
        caplog.clear()
        path.write_bytes(content)
        assert view.load(path, FACTS) is None
        (line,) = [record.getMessage() for record in caplog.records]
        assert "cannot be used" in line and line.isprintable()


def test_a_host_without_a_tunnel_end_is_left_out_of_tunnels_only(
    caplog: pytest.LogCaptureFixture,
) -> None:
    upsert: dict[str, Any] = {
        "chassis": [
            {"host": "b", "tunnel_ip": "192.0.2.2\n"},
            {"host": "c", "tunnel_ip": "192.0.2.3"},
        ]
    }
    rows = view.typed(ViewDelta(seq=1, upsert=upsert)).upsert["chassis"]
    assert rows == [Chassis(host="b"), Chassis(host="c", tunnel_ip="192.0.2.3")]
    assert "no tunnels to host b" in caplog.text


def test_every_detail_is_one_short_line_and_long_reports_are_split() -> None:
    long = {("port", f"p{n}", "l2"): ("error", "a\nb\x00" * 900) for n in range(4500)}
    made = status.changes({}, long, 1)  # type: ignore[arg-type]
    assert all(row.detail.isprintable() and len(row.detail) <= 500 for row in made)
    made += [Status(kind="port", id="ok", aspect="l2", seq=1, state="ok")]
    parts = list(link._parts(made[::-1]))
    assert [len(part) for part in parts] == [2000, 2000, 501] and parts[-1][-1].id == "ok"
    assert list(link._parts([])) == [[]]
    assert json.loads(msgspec.json.encode(parts[0][0]))["state"] == "error"
