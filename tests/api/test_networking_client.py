"""The unmodified openstacksdk and `openstack` client against the Networking API, with real tokens."""

from pathlib import Path

import openstack
import pytest
from openstack import exceptions

from tests.support.cloud import ADMIN, DEMO, Cloud, running

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def cloud(tmp_path_factory: pytest.TempPathFactory):
    folder: Path = tmp_path_factory.mktemp("networking")
    network = {"external_physical_network": "public", "flat_networks": ["extnet", "public"]}
    with running(folder, network=network) as cloud:
        yield cloud


def connect(cloud: Cloud, user: str, password: str) -> openstack.connection.Connection:
    return openstack.connect(
        load_yaml_config=False,
        load_envvars=False,
        auth={
            "auth_url": f"{cloud.url}/identity",
            "username": user,
            "password": password,
            "project_name": user,
            "user_domain_name": "Default",
            "project_domain_name": "Default",
        },
        region_name="RegionOne",
    )


def test_private_network_router_and_floating_ip(cloud: Cloud):
    admin, demo = connect(cloud, "admin", ADMIN), connect(cloud, "demo", DEMO)
    external = admin.network.create_network(name="public", is_router_external=True)
    assert external.provider_physical_network == "public"
    admin.network.create_subnet(
        network_id=external.id,
        name="public_subnet",
        ip_version=4,
        cidr="203.0.113.0/24",
        gateway_ip="203.0.113.1",
        is_dhcp_enabled=False,
        allocation_pools=[{"start": "203.0.113.10", "end": "203.0.113.90"}],
    )
    private = demo.network.create_network(name="private")
    subnet = demo.network.create_subnet(
        network_id=private.id, name="private_subnet", ip_version=4, cidr="10.0.0.0/24"
    )
    router = demo.network.create_router(
        name="router1", external_gateway_info={"network_id": external.id}
    )
    demo.network.add_interface_to_router(router, subnet_id=subnet.id)
    port = demo.network.create_port(network_id=private.id, name="p1")
    floating = demo.network.create_ip(floating_network_id=external.id, port_id=port.id)
    assert floating.fixed_ip_address == port.fixed_ips[0]["ip_address"]
    assert floating.router_id == router.id
    assert {network.name for network in demo.network.networks()} == {"public", "private"}
    assert [found.id for found in demo.network.ports(network_id=private.id, name="p1")] == [port.id]
    assert demo.network.find_network("private").id == private.id
    assert demo.network.find_extension("port-security") is not None
    demo.network.set_tags(private, ["blue"])
    assert [found.id for found in demo.network.networks(tags="blue")] == [private.id]
    with pytest.raises(exceptions.ConflictException, match="ports still in use"):
        demo.network.delete_network(private)
    with pytest.raises(exceptions.ForbiddenException):
        demo.network.create_network(name="x", is_shared=True)
    demo.network.delete_ip(floating)
    demo.network.remove_interface_from_router(router, subnet_id=subnet.id)
    demo.network.delete_router(router)
    demo.network.delete_port(port)
    demo.network.delete_network(private)
    assert list(demo.network.subnets(name="private_subnet")) == []


def test_pages_are_followed(cloud: Cloud):
    demo = connect(cloud, "demo", DEMO)
    made = {demo.network.create_network(name=f"page{n}").id for n in range(5)}
    assert made <= {network.id for network in demo.network.networks(limit=2)}


def test_the_commands_of_the_walkthrough(cloud: Cloud):
    cloud.openstack(
        *("network", "create", "external_network", "--share"),
        *("--provider-network-type", "flat", "--provider-physical-network", "extnet"),
    )
    subnet = cloud.openstack_json(
        *("subnet", "create", "--network", "external_network", "--subnet-range", "172.20.0.0/24"),
        *("--allocation-pool", "start=172.20.0.10,end=172.20.0.90", "--gateway", "172.20.0.1"),
        *("--dns-nameserver", "9.9.9.9", "extnet_subnet"),
    )
    assert subnet["allocation_pools"] == [{"start": "172.20.0.10", "end": "172.20.0.90"}]
    cloud.openstack("security", "group", "create", "all", user="demo", project="demo")
    rule = cloud.openstack_json(
        *("security", "group", "rule", "create", "--proto", "tcp", "--dst-port", "1:65535", "all"),
        user="demo",
        project="demo",
    )
    # Neutron stores the whole range of ports as "every port".
    assert (rule["port_range_min"], rule["port_range_max"]) == (None, None)
