"""What a replica of an HA router has, and who hears it."""

from __future__ import annotations

from msgspec.structs import replace

from netloom.model.hoststate import (
    Bucket,
    ConnectionSync,
    Device,
    Flow,
    HeldRoute,
    Keepalived,
    Neighbour,
)
from netloom.model.networking import FixedIP, Network, Port, Subnet
from netloom.model.openflow import Goto, Load, SetTunnel
from netloom.plan import plan
from netloom.plan.ovs.pipeline import GROUP_ADDRESS, Stage
from tests.support import worlds

HOSTS = ("network1", "compute2")


def highly_available(hosts: tuple[str, ...] = HOSTS) -> worlds.World:
    """The second walkthrough with its router as an HA router, and a second one of the same project."""
    world = worlds.walkthrough_b()
    world.add("networks", Network(id="ha", key=900, segmentation_id=900))
    world.add("subnets", Subnet(id="ha-subnet", network_id="ha", cidr="169.254.192.0/18"))
    world.change("routers", "router1", ha=True, vrid=7, replicas=worlds.replicas(*hosts))
    other = replace(world.tables["routers"]["router1"], id="router2", vrid=8, gw_port_id=None)
    world.add("routers", replace(other, external_gateway_info=None))
    for number, (router, host) in enumerate((r, h) for r in ("router1", "router2") for h in hosts):
        world.add(
            "ports",
            Port(
                id=f"{router}-{host}",
                network_id="ha",
                mac_address=f"fa:16:3e:ff:00:0{number}",
                key=500 + number,
                fixed_ips=(FixedIP("ha-subnet", f"169.254.192.{number + 1}"),),
                device_id=router,
                device_owner="network:router_ha_interface",
                host=host,
                port_security_enabled=False,
            ),
        )
    return world


def test_each_replica_has_what_decides_and_what_it_needs_for_that() -> None:
    world = highly_available()
    for host, priority in zip(HOSTS, (50, 49), strict=True):
        state = plan(world.view(host))
        (decides,) = (k for k in state.each(Keepalived) if k.router_id == "router1")
        assert (decides.vrid, decides.priority) == (7, priority)
        assert decides.device == f"ha-router1-{host}"[:14]
        assert decides.sign == "169.254.0.7/32"
        assert {"198.51.100.20/32"} < {address.cidr for address in decides.addresses}
        gateway = next(a.device for a in decides.addresses if a.device.startswith("qg-"))
        assert HeldRoute("0.0.0.0/0", gateway, "198.51.100.1") in decides.routes
        assert "tunnels" in decides.links and len(decides.links) == 2
        # Asked for rivals is where both are without a tunnel: the external network.
        assert [each.device for each in decides.shared] == [gateway]
        assert decides.below == (1 if host == "network1" else 0)
        devices = {d.name: d for d in state.each(Device) if d.namespace == "qrouter-router1"}
        assert {a.cidr for d in devices.values() for a in d.addresses if a.held_by == "agent"} == {
            f"169.254.192.{1 + HOSTS.index(host)}/18"
        }
        (sync,) = (s for s in state.each(ConnectionSync) if s.namespace == "qrouter-router1")
        assert (sync.number, sync.address) == (7, f"169.254.192.{1 + HOSTS.index(host)}")
    assert not [*plan(world.view("compute1")).each(Keepalived)]


def test_a_replica_hears_its_own_router_alone() -> None:
    world = highly_available()
    for host in HOSTS:
        state = plan(world.view(host))
        said = {
            flow.match.eth_src: flow.actions
            for flow in state.each(Flow)
            if flow.table == Stage.L2 and flow.match.eth_dst == GROUP_ADDRESS and flow.match.eth_src
        }
        assert len(said) == 4
        for router in ("router1", "router2"):
            here = world.tables["ports"][f"{router}-{host}"]
            there = next(
                p
                for name, p in world.tables["ports"].items()
                if name.startswith(f"{router}-") and p.host != host
            )
            assert said[there.mac_address] == (Load("dst_port", here.key), Goto(int(Stage.OUTPUT)))
            (tunnel,) = (a for a in said[here.mac_address] if isinstance(a, SetTunnel))
            assert tunnel.dst == world.hosts[there.host].tunnel_ip
        # Nobody floods to them, and nobody knows all routers of the project as neighbours.
        keys = {p.key for p in world.tables["ports"].values() if p.network_id == "ha"}
        loads = {a.value for b in state.each(Bucket) for a in b.actions if isinstance(a, Load)}
        assert not keys & loads
        assert not [n for n in state.each(Neighbour) if n.address.startswith("169.254.192.")]


def test_the_only_replica_never_gives_up() -> None:
    (decides, _) = plan(highly_available(("network1",)).view("network1")).each(Keepalived)
    assert (decides.links, decides.shared) == ((), ())
