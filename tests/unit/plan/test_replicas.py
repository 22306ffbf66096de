"""A router with two replicas: every host that has one is a place of its ports, and keepalived holds what only one may have."""

from __future__ import annotations

from netloom.model.hoststate import Device, FloatingNat, Flow, NsRoute
from netloom.model.openflow import Goto, SetTunnel
from netloom.plan import plan
from netloom.plan.ovs.pipeline import Stage
from netloom.render.ip import ip_commands
from tests.support import worlds


def twice() -> worlds.World:
    """The second walkthrough with its router on network1 and on compute2."""
    world = worlds.walkthrough_b()
    world.change("routers", "router1", ha=True, replicas=worlds.replicas("network1", "compute2"))
    return world


def to_mac(world: worlds.World, host: str, port: str) -> dict[int | None, tuple]:
    """The L2 flows for a port's MAC address: `remote` → actions."""
    mac = world.tables["ports"][port].mac_address
    flows = plan(world.view(host)).each(Flow)
    here = [f for f in flows if f.table == Stage.L2 and f.match.eth_dst == mac]
    return {f.match.remote: f.actions for f in here if f.bridge == "br-int"}


def ends(actions: tuple) -> list[str]:
    return [action.dst for action in actions if isinstance(action, SetTunnel)]


def test_frames_for_the_router_go_to_each_place() -> None:
    world = twice()
    leg = next(p for p in world.tables["ports"] if p.startswith("if1-"))
    ips = {name: facts.tunnel_ip for name, facts in world.hosts.items()}
    away = to_mac(world, "compute1", leg)
    assert list(away) == [0] and ends(away[0]) == [ips["network1"], ips["compute2"]]
    here = to_mac(world, "network1", leg)
    assert ends(here[0]) == [ips["compute2"]] and ends(here[1]) == []
    assert all(Goto(int(Stage.INGRESS)) in actions for actions in here.values())


def test_only_keepalived_adds_what_one_replica_alone_may_have() -> None:
    world = twice()
    for host in ("network1", "compute2"):
        state = plan(world.view(host))
        devices = [d for d in state.each(Device) if d.namespace == "qrouter-router1"]
        assert len(devices) == 2 and {d.held_by for d in devices} == {"agent"}
        assert {a.held_by for d in devices for a in d.addresses} == {"keepalived"}
        routes = [r for r in state.each(NsRoute) if r.namespace == "qrouter-router1"]
        assert routes and {r.held_by for r in routes} == {"keepalived"}
        commands = [line for item in (*devices, *routes) for line in ip_commands(item)]
        assert not [line for line in commands if " add " in line]
        # NAT may stand on each: without its address nothing reaches it.
        assert [nat.external for nat in state.each(FloatingNat)] == ["198.51.100.20"]
    single = plan(worlds.walkthrough_b().view("network1"))
    assert {d.held_by for d in single.each(Device)} == {"agent"}


def test_a_host_without_a_replica_has_nothing_of_the_router() -> None:
    state = plan(twice().view("compute1"))
    assert not [d for d in state.each(Device) if d.namespace == "qrouter-router1"]
