from __future__ import annotations

from pathlib import Path

import msgspec

from netloom.agent import view
from netloom.agent.link import Link, Step
from netloom.agent.loop import Agent
from netloom.agent.settings import AgentSettings, Settings
from netloom.model import HostFacts, Network, ViewDelta

FACTS = HostFacts(host="a")


def agent_without_a_switch(folder: Path) -> Agent:
    return Agent(Settings(agent=agent_settings(folder)), FACTS)


def agent_settings(folder: Path) -> AgentSettings:
    secret = folder / "secret"
    secret.write_text("secret")
    secret.chmod(0o600)
    return AgentSettings(
        host="a",
        server="unix:///nowhere",
        secret_file=str(secret),
        state_dir=str(folder),
        run_dir=str(folder),
        ovs_rundir=str(folder),
    )


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


def test_a_bare_seq_is_noted_and_nothing_else_is_done(tmp_path: Path) -> None:
    """A change that does not concern the host costs the host no plan, no saved view, no audit and no post."""
    agent = agent_without_a_switch(tmp_path)
    agent._step(step("n1"))
    agent.once()
    planned, kept = agent._state, (tmp_path / "view.json").stat()
    # As after a pass that went well: here there is no switch, so the pass itself cannot.
    agent._stale = agent._dirty = False
    agent.tracker.trouble.clear()
    link = Link(agent_settings(tmp_path), FACTS)
    agent._link = link
    for seq in (8, 9):
        agent._step(Step("epoch", seq, ViewDelta(seq=seq) if seq == 8 else None))
        agent.once()
    assert agent.view.seq == 9 and agent._state is planned
    assert (tmp_path / "view.json").stat() == kept
    assert link._applied == 9, "the next heartbeat says so"
    assert link._reports.empty(), "no report of its own"
