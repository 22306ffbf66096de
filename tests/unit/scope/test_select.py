"""A host is told what it needs, and nothing else."""

import pytest

from netloom.model import (
    Chassis,
    FixedIP,
    Flavor,
    FloatingIP,
    HostFacts,
    Image,
    Network,
    Port,
    Replica,
    Router,
    SecurityGroup,
    SecurityGroupRule,
    Server,
    Subnet,
)
from netloom.scope import Inventory, select


@pytest.fixture
def world():
    """Two networks: `blue` with an instance on c1 and one on c2, `red` on c2 only; router r1 on net1."""
    world = Inventory()
    for number, host in enumerate(("c1", "c2", "net1", "idle"), 1):
        world.facts[host] = HostFacts(host=host, tunnel_ip=f"192.0.2.{number}")
    for network in ("blue", "red", "public"):
        world.put("networks", Network(id=network))
        world.put("subnets", Subnet(id=f"{network}-s", network_id=network, cidr="10.0.0.0/24"))
    for group in ("web", "db", "unused"):
        world.put("security_groups", SecurityGroup(id=group))
    put_port(world, "b1", "blue", host="c1", security_groups=("web",))
    put_port(world, "b2", "blue", host="c2")
    put_port(world, "r2", "red", host="c2", security_groups=("db",))
    put_port(world, "blue-dhcp", "blue", device_owner="network:dhcp")
    put_port(world, "unbound", "blue")
    world.put("routers", Router(id="r1", replicas=(Replica("net1"),), gw_port_id="gw"))
    put_port(world, "gw", "public", device_owner="network:router_gateway", device_id="r1")
    put_port(world, "if-blue", "blue", device_owner="network:router_interface", device_id="r1")
    put_port(world, "fip-port", "public", device_owner="network:floatingip", device_id="f1")
    world.put(
        "floatingips",
        FloatingIP(
            id="f1",
            floating_network_id="public",
            floating_ip_address="203.0.113.9",
            floating_port_id="fip-port",
            port_id="b1",
            router_id="r1",
        ),
    )
    return world


def put_port(world, id, network, **more):
    fixed = (FixedIP(f"{network}-s", "10.0.0.5"),)
    world.put(
        "ports",
        Port(id=id, network_id=network, mac_address="fa:16:3e:00:00:01", fixed_ips=fixed, **more),
    )


def put_rule(world, id, group, remote=None):
    world.put(
        "security_group_rules",
        SecurityGroupRule(
            id=id, security_group_id=group, direction="ingress", remote_group_id=remote
        ),
    )


def test_an_idle_host_knows_only_itself(world):
    view = select(world, "idle", 7)
    assert (view.seq, view.facts.tunnel_ip) == (7, "192.0.2.4")
    assert view.chassis == {
        "idle": Chassis(host="idle", tunnel_ip="192.0.2.4", tunnel_types=("vxlan",))
    }
    assert not (view.networks or view.ports or view.subnets or view.routers or view.floatingips)


def test_a_compute_host_knows_its_networks_whole(world):
    view = select(world, "c1")
    assert set(view.networks) == {"blue"} and set(view.subnets) == {"blue-s"}
    assert set(view.ports) == {"b1", "b2", "blue-dhcp", "unbound", "if-blue"}
    assert set(view.chassis) == {"c1", "c2", "net1"}
    assert set(view.routers) == {"r1"}, "its host is where the router's port is"
    assert view.floatingips == {}


def test_a_network_host_knows_its_routers_with_all_they_need(world):
    view = select(world, "net1")
    assert set(view.networks) == {"blue", "public"}
    assert set(view.routers) == {"r1"} and set(view.floatingips) == {"f1"}
    assert {"gw", "if-blue", "fip-port", "b1"} <= set(view.ports)
    assert view.security_groups == {}


def test_the_port_of_a_floating_ip_comes_even_from_a_network_that_is_not_here(world):
    world.put("floatingips", FloatingIP(**{**fields(world.floatingips["f1"]), "port_id": "r2"}))
    assert "r2" in select(world, "net1").ports
    assert "red" not in select(world, "net1").networks


def fields(row):
    return {name: getattr(row, name) for name in row.__struct_fields__}


def test_rules_of_groups_in_use_bring_the_members_of_groups_they_name(world):
    put_rule(world, "1", "web", remote="db")
    put_rule(world, "2", "db")
    put_rule(world, "3", "unused")
    view = select(world, "c1")
    assert set(view.security_group_rules) == {"1"}
    assert set(view.security_groups) == {"web", "db"}
    assert "r2" in view.ports and "red" not in view.networks
    assert set(view.chassis) == {"c1", "c2", "net1"}


def test_instances_and_images_are_those_of_the_host(world):
    flavor = Flavor(id="1")
    for name, host in (("v1", "c1"), ("v2", "c2")):
        world.put("images", Image(id=f"i-{name}"))
        world.put(
            "servers",
            Server(
                id=name,
                host=host,
                user_id="u",
                image_id=f"i-{name}",
                flavor=flavor,
                user_data="eA==",
            ),
        )
    view = select(world, "c1")
    assert set(view.servers) == {"v1"} and set(view.images) == {"i-v1"}
    assert view.servers["v1"].user_data == "eA=="


def test_a_dhcp_port_makes_no_network_present(world):
    put_port(world, "red-dhcp", "red", device_owner="network:dhcp", host="idle")
    assert select(world, "idle").networks == {}


def test_a_router_that_moves_takes_its_networks_along(world):
    world.put("routers", Router(**{**fields(world.routers["r1"]), "replicas": (Replica("idle"),)}))
    assert set(select(world, "idle").networks) == {"blue", "public"}
    assert select(world, "net1").networks == {}
    assert set(select(world, "c1").chassis) == {"c1", "c2", "idle"}


def test_a_router_of_two_replicas_is_on_both_hosts(world):
    both = (Replica("idle", 50), Replica("net1", 49))
    world.put("routers", Router(**{**fields(world.routers["r1"]), "replicas": both}))
    for host in ("idle", "net1"):
        view = select(world, host)
        assert set(view.networks) == {"blue", "public"} and set(view.floatingips) == {"f1"}
    assert set(select(world, "c1").chassis) == {"c1", "c2", "idle", "net1"}


def test_the_host_of_an_instance_knows_its_floating_ips(world):
    flavor = Flavor(id="1")
    server = Server(id="v", host="c1", user_id="u", image_id="i", flavor=flavor, port_ids=("b1",))
    world.put("servers", server)
    view = select(world, "c1")
    assert set(view.floatingips) == {"f1"}
    assert select(world, "c2").floatingips == {}
    # Where they are translated it does not learn: neither the router's gateway nor its network.
    assert "public" not in view.networks and "gw" not in view.ports and "fip-port" not in view.ports
