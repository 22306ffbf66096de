"""Which networks a router is on, by which devices, whose addresses belong there, and the chains that are made of it."""

from __future__ import annotations

import pytest

from netloom.model import FixedIP
from netloom.model.hoststate import AttachedNetwork
from netloom.model.origin import Origin
from netloom.plan import plan
from netloom.render.nft import nft_ruleset
from netloom.render.values import Unwritable
from tests.support import worlds


def attached(world: worlds.World) -> dict[str, AttachedNetwork]:
    found = plan(world.view("network1")).each(AttachedNetwork)
    return {network.network_id: network for network in found}


def joined() -> worlds.World:
    """A router between a private and an external network."""
    world = worlds.walkthrough_b()
    del world.tables["floatingips"]["fip1"]
    return world


def test_each_network_has_its_devices_and_subnets():
    world = joined()
    assert list(attached(world).values()) == [
        AttachedNetwork(
            namespace="qrouter-router1",
            network_id="private",
            devices=("qr-if1-router1",),
            connected=("10.0.0.0/24",),
            origin=(Origin("network", "private"), Origin("router", "router1")),
            aspect="l3",
        ),
        AttachedNetwork(
            namespace="qrouter-router1",
            network_id="public",
            devices=("qg-gw-router1",),
            connected=("198.51.100.0/24",),
            external=True,
            origin=(Origin("network", "public"), Origin("router", "router1")),
            aspect="l3",
        ),
    ]
    # A second subnet, first without an address of the router's, then with a device of its own.
    world.subnet("priv-more", "private", "10.7.0.0/24")
    assert attached(world)["private"].connected == ("10.0.0.0/24",)
    assert attached(world)["private"].others == ("10.7.0.0/24",)
    port = world.interface("router1", "private", "priv-more", "10.7.0.1")
    private = attached(world)["private"]
    both = sorted(("qr-if1-router1", f"qr-{port.id[:11]}"))
    assert sorted(private.devices) == both
    assert (sorted(private.connected), private.others) == (["10.0.0.0/24", "10.7.0.0/24"], ())
    # Two devices in one subnet.
    world.change("ports", port.id, fixed_ips=(FixedIP("priv-sub", "10.0.0.9"),))
    private = attached(world)["private"]
    assert (sorted(private.devices), private.connected) == (both, ("10.0.0.0/24",))


def test_all_subnets_of_the_external_network_are_connected_save_what_is_inside_already():
    world = joined()
    world.subnet("pub-more", "public", "203.0.113.0/24", enable_dhcp=False)
    assert "203.0.113.0/24" in attached(world)["public"].connected
    # Made there later, over the router's own.
    world.subnet("pub-over", "public", "10.0.0.0/16", enable_dhcp=False)
    assert attached(world)["public"].others == ("10.0.0.0/16",)
    assert attached(world)["private"].connected == ("10.0.0.0/24",)


def test_a_router_on_one_network_has_no_other_side():
    world = joined()
    world.change("routers", "router1", external_gateway_info=None, gw_port_id=None)
    del world.tables["ports"]["gw-router1"]
    assert attached(world) == {}


def network(id: str, *connected: str, **more) -> AttachedNetwork:
    values = {
        "namespace": "qrouter-r",
        "devices": (f"qr-{id}",),
        "origin": (Origin("network", id),),
    }
    return AttachedNetwork(**{**values, "network_id": id, "connected": connected, **more})


def test_a_router_without_nat_and_without_gateway_tracks_no_connections():
    text = nft_ruleset([], [], [network("a", "10.0.0.0/24"), network("b", "10.1.0.0/24")])
    assert "ip saddr vmap { 10.0.0.0/24 : jump from-a, 10.1.0.0/24 : jump from-b }" in text
    assert text.count('counter drop comment "network/') == 2 and "oifname vmap" not in text
    assert "nat" not in text and "ct " not in text
    text = nft_ruleset([], [], [network("a", "10.0.0.0/24", external=True)])
    assert text.count("ct direction reply") == 1 and "chain to-a" in text


def test_what_belongs_to_a_network_by_a_subnet_that_the_router_is_not_in():
    text = nft_ruleset([], [], [network("a", "10.0.0.0/24", others=("10.7.0.0/24",))])
    assert "ip saddr { 10.7.0.0/24 } counter drop" in text
    assert 'oifname vmap { "qr-a" : jump to-a }' in text
    assert "10.7.0.0/24 : jump" not in text


def test_subnets_of_the_other_family_are_none_of_this_table_s():
    more = network("a", "2001:db8::/64", others=("2001:db8:1::/64",))
    text = nft_ruleset([], [], [more, network("b", "10.1.0.0/24")])
    assert "2001" not in text and "10.1.0.0/24" in text


@pytest.mark.parametrize(
    "wrong",
    [
        {"connected": ("10.0.0.0/24 }; flush ruleset",)},
        {"others": ("10.0.0.0/24, 0.0.0.0/0 : accept",)},
        {"devices": ('a" }',)},
        {"network_id": "a { }"},
    ],
)
def test_what_is_no_subnet_and_no_device_is_not_written(wrong):
    values = {"namespace": "qrouter-r", "devices": ("qr-a",), "network_id": "a"}
    with pytest.raises(Unwritable):
        nft_ruleset([], [], [AttachedNetwork(**{**values, **wrong})])
