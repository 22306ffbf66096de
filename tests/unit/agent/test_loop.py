from __future__ import annotations

from pathlib import Path

import msgspec

from netloom.agent import view
from netloom.agent.link import Step
from netloom.agent.loop import Agent
from netloom.agent.settings import AgentSettings, Settings
from netloom.model import HostFacts, Network, ViewDelta

FACTS = HostFacts(host="a")


def agent_without_a_switch(folder: Path) -> Agent:
    settings = AgentSettings(
        host="a",
        server="unix:///nowhere",
        secret_file="",
        state_dir=str(folder),
        run_dir=str(folder),
        ovs_rundir=str(folder),
    )
    return Agent(Settings(agent=settings), FACTS)


def step(id: str) -> Step:
    upsert = {"networks": [msgspec.to_builtins(Network(id=id, key=1))]}
    return Step("epoch", 7, view.typed(ViewDelta(seq=7, snapshot=True, upsert=upsert)))


def test_what_was_said_is_kept_before_it_is_carried_out(tmp_path: Path) -> None:
    """Killed in the middle of a change, an agent would first go back to how it was before."""
    agent = agent_without_a_switch(tmp_path)
    agent.post(lambda: agent._step(step("n1")))
    agent.events.get()()
    agent.once()  # nothing of it can be done: there is no Open vSwitch
    kept = view.load(tmp_path / "view.json", FACTS)
    assert kept is not None
    assert (kept.epoch, kept.view.seq, list(kept.view.networks)) == ("epoch", 7, ["n1"])


def test_without_room_for_the_view_the_host_is_served_all_the_same(tmp_path: Path) -> None:
    agent = agent_without_a_switch(tmp_path)
    (tmp_path / "view.json").mkdir()  # in the way of the file
    agent._step(step("n1"))
    agent.once()
    assert "br-int" in str(agent._state.objects)
    assert view.load(tmp_path / "view.json", FACTS) is None
