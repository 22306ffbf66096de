"""Networks over HTTP, against what Neutron 29 answered (asked of the oracle)."""

import pytest

from netloom.model import HostFacts, NetworkSettings
from tests.support.networking import error_of

FLAT = {"provider:network_type": "flat", "provider:physical_network": "extnet"}


def test_defaults(cloud):
    network = cloud.member.make("network")
    assert {
        key: network[key]
        for key in ("name", "admin_state_up", "shared", "status", "mtu", "subnets")
    } == {
        "name": "",
        "admin_state_up": True,
        "shared": False,
        "status": "ACTIVE",
        "mtu": 1450,
        "subnets": [],
    }
    assert network["tenant_id"] == network["project_id"] == "1" * 32
    assert network["revision_number"] == 1
    assert network["port_security_enabled"] is True
    assert network["router:external"] is False
    assert network["created_at"].endswith("Z")
    assert not [key for key in network if key.startswith("provider:") or key == "key"]


def test_an_administrator_sees_what_carries_it(cloud):
    network = cloud.admin.make("network")
    assert network["provider:network_type"] == "vxlan"
    assert network["provider:physical_network"] is None
    assert 1 <= network["provider:segmentation_id"] <= 1000


@pytest.mark.parametrize(
    ("attrs", "message"),
    [
        ({"provider:network_type": "flat"}, "physical_network required for flat provider network."),
        (
            {"provider:network_type": "flat", "provider:physical_network": "nope"},
            "physical_network 'nope' unknown for flat provider network.",
        ),
        (
            FLAT | {"provider:segmentation_id": 3},
            "segmentation_id prohibited for flat provider network.",
        ),
        (
            {"provider:network_type": "vlan", "provider:physical_network": "nope"},
            "physical_network 'nope' unknown for VLAN provider network.",
        ),
        (
            {"provider:network_type": "vlan", "provider:segmentation_id": 3},
            "segmentation_id requires physical_network for VLAN provider network.",
        ),
        (
            {
                "provider:network_type": "vlan",
                "provider:physical_network": "physnet1",
                "provider:segmentation_id": 4095,
            },
            "segmentation_id out of range (1 through 4094).",
        ),
        (
            {"provider:network_type": "vxlan", "provider:physical_network": "physnet1"},
            "provider:physical_network specified for vxlan network.",
        ),
        (
            {"provider:network_type": "gre", "provider:physical_network": "physnet1"},
            "provider:physical_network specified for gre network.",
        ),
        (
            {"provider:network_type": "geneve", "provider:segmentation_id": 2**24},
            "segmentation_id out of range (0 through 16777215).",
        ),
        (
            {"provider:network_type": "gre", "provider:segmentation_id": 2**32},
            "segmentation_id out of range (0 through 4294967295).",
        ),
        ({"provider:network_type": "nope"}, "network_type value 'nope' not supported."),
        ({"provider:physical_network": "extnet"}, "network_type required."),
        ({"mtu": 1451}, "Requested MTU is too big, maximum is 1450."),
    ],
)
def test_wrong_carriers(cloud, attrs, message):
    answer = cloud.admin("POST", "/networks", {"network": attrs})
    assert error_of(answer) == (400, "InvalidInput", f"Invalid input for operation: {message}")


def test_a_carrier_is_taken_once(cloud):
    vlan = {
        "provider:network_type": "vlan",
        "provider:physical_network": "physnet1",
        "provider:segmentation_id": 500,
    }
    vxlan = {"provider:network_type": "vxlan", "provider:segmentation_id": 7}
    for attrs in (FLAT, vlan, vxlan):
        assert cloud.admin.make("network", **attrs)["mtu"] == (1450 if attrs is vxlan else 1500)
    assert error_of(cloud.admin("POST", "/networks", {"network": FLAT})) == (
        409,
        "FlatNetworkInUse",
        "Unable to create the flat network. Physical network extnet is in use.",
    )
    assert error_of(cloud.admin("POST", "/networks", {"network": vlan})) == (
        409,
        "VlanIdInUse",
        "Unable to create the network. The VLAN 500 on physical network physnet1 is in use.",
    )
    assert error_of(cloud.admin("POST", "/networks", {"network": vxlan})) == (
        409,
        "TunnelIdInUse",
        "Unable to create the network. The tunnel ID 7 is in use.",
    )


def test_a_deleted_network_gives_its_carrier_back(cloud):
    network = cloud.admin.make("network", **FLAT)
    assert cloud.admin("DELETE", f"/networks/{network['id']}").status_code == 204
    cloud.admin.make("network", **FLAT)


def test_vlans_come_from_the_ranges(cloud):
    vlan = {"provider:network_type": "vlan"}
    network = cloud.admin.make("network", **vlan)
    assert network["provider:physical_network"] == "physnet1"
    assert network["provider:segmentation_id"] == 100
    other = cloud.admin.make("network", **vlan, **{"provider:physical_network": "physnet2"})
    assert other["provider:segmentation_id"] == 1


def test_none_left(make_cloud):
    cloud = make_cloud(NetworkSettings(vni_ranges=((5, 6),)))
    assert {cloud.admin.make("network")["provider:segmentation_id"] for _ in range(2)} == {5, 6}
    answer = cloud.admin("POST", "/networks", {"network": {}})
    assert error_of(answer)[:2] == (503, "NoNetworkAvailable")


@pytest.mark.parametrize(
    ("kind", "mtu", "largest"),
    [("vxlan", 1450, 2**24 - 1), ("gre", 1458, 2**32 - 1), ("geneve", 1442, 2**24 - 1)],
)
@pytest.mark.parametrize("version", [4, 6])
def test_tunnels(make_cloud, kind, mtu, largest, version):
    cloud = make_cloud(
        NetworkSettings(
            vni_ranges=((5, 6),), tunnel_id_ranges=((5, 6),), overlay_ip_version=version
        )
    )
    asked = {"provider:network_type": kind}
    made = [cloud.admin.make("network", **asked) for _ in range(2)]
    assert [network["provider:segmentation_id"] for network in made] == [5, 6]
    assert made[0]["mtu"] == mtu - (20 if version == 6 else 0)
    assert cloud.admin("POST", "/networks", {"network": asked}).status_code == 503
    asked["provider:segmentation_id"] = largest
    cloud.admin.make("network", **asked)
    assert error_of(cloud.admin("POST", "/networks", {"network": asked})) == (
        409,
        "TunnelIdInUse",
        f"Unable to create the network. The tunnel ID {largest} is in use.",
    )


def test_project_networks_get_the_types_of_the_setting_in_its_order(make_cloud):
    settings = NetworkSettings(
        project_network_types=("geneve", "gre", "vxlan"),
        vni_ranges=((7, 7),),
        tunnel_id_ranges=((9, 9),),
    )
    cloud = make_cloud(settings)
    found = [cloud.admin.make("network") for _ in range(3)]
    kinds = [(n["provider:network_type"], n["provider:segmentation_id"]) for n in found]
    assert kinds == [("geneve", 7), ("gre", 9), ("vxlan", 7)]


def test_a_tunnel_type_that_no_host_carries_is_none_that_there_is(make_cloud):
    cloud = make_cloud(NetworkSettings(project_network_types=("gre", "vxlan")))

    def host(name, *types, **more):
        with cloud.store.writer() as w:
            w.put_host(
                name, secret_hash="-", facts=HostFacts(host=name, tunnel_types=types, **more)
            )

    def kind():
        return cloud.admin.make("network")["provider:network_type"]

    gre = {"network": {"provider:network_type": "gre"}}
    host("without", "gre")  # no end of tunnels: it says nothing of them
    assert kind() == "gre"
    host("c1", "vxlan", tunnel_ip="192.0.2.1")
    assert kind() == "vxlan"
    assert error_of(cloud.admin("POST", "/networks", gre)) == (
        400,
        "InvalidInput",
        "Invalid input for operation: network_type value 'gre' not supported.",
    )
    host("c1", "geneve", tunnel_ip="192.0.2.1")
    assert error_of(cloud.admin("POST", "/networks", {"network": {}}))[:2] == (
        503,
        "NoNetworkAvailable",
    )
    host("c2", "vxlan", "gre", tunnel_ip="192.0.2.2")
    assert kind() == "gre"
    assert cloud.admin("POST", "/networks", gre).status_code == 201


def test_an_external_network_without_provider_attributes(make_cloud):
    cloud = make_cloud(NetworkSettings(external_physical_network="public"))
    network = cloud.admin.make("network", **{"router:external": True})
    assert network["provider:network_type"] == "flat"
    assert network["provider:physical_network"] == "public"
    # As in Neutron, where an external network without provider attributes is of a project network type.
    second = cloud.admin.make("network", **{"router:external": True})
    assert (second["provider:network_type"], second["router:external"]) == ("vxlan", True)
    assert second["mtu"] == 1450
    # One that names the physical network is refused as ever.
    flat = {"provider:network_type": "flat", "provider:physical_network": "public"}
    answer = cloud.admin("POST", "/networks", {"network": {"router:external": True, **flat}})
    assert error_of(answer)[:2] == (409, "FlatNetworkInUse")
    # Given back, it is the next one's.
    assert cloud.admin("DELETE", f"/networks/{network['id']}").status_code == 204
    third = cloud.admin.make("network", **{"router:external": True})
    assert third["provider:physical_network"] == "public"


def test_members_may_not(cloud):
    answer = cloud.member("POST", "/networks", {"network": {"shared": True}})
    assert error_of(answer) == (
        403,
        "PolicyNotAuthorized",
        "(rule:create_network and rule:create_network:shared) is disallowed by policy",
    )
    attrs = {"router:external": True, "shared": True, "provider:network_type": "flat"}
    assert (
        "rule:create_network:provider:network_type) is"
        in error_of(cloud.member("POST", "/networks", {"network": attrs}))[2]
    )
    assert error_of(cloud.reader("POST", "/networks", {"network": {}})) == (
        403,
        "PolicyNotAuthorized",
        "rule:create_network is disallowed by policy",
    )


def test_who_sees_what(cloud):
    private = cloud.member.make("network", name="private")
    shared = cloud.admin.make("network", name="shared", shared=True)
    external = cloud.admin.make("network", name="external", **{"router:external": True})
    assert {network["name"] for network in cloud.other.list("/networks")} == {"shared", "external"}
    assert {network["name"] for network in cloud.reader.list("/networks")} == {
        "private",
        "shared",
        "external",
    }
    shown = cloud.other("GET", f"/networks/{shared['id']}").json()["network"]
    assert shown["shared"] is True
    assert cloud.other("GET", f"/networks/{external['id']}").json()["network"]["shared"] is False
    path = f"/networks/{private['id']}"
    missing = f"Network {private['id']} could not be found."
    for method, body in (("GET", None), ("PUT", {"network": {"name": "x"}}), ("DELETE", None)):
        assert error_of(cloud.other(method, path, body)) == (404, "NetworkNotFound", missing)
    answer = cloud.other("PUT", f"/networks/{shared['id']}", {"network": {"name": "x"}})
    assert error_of(answer) == (
        403,
        "PolicyNotAuthorized",
        "rule:update_network is disallowed by policy",
    )
    assert error_of(cloud.reader("DELETE", path))[0] == 403


def test_an_mtu_of_0_is_the_largest_but_too_small_for_subnets(cloud):
    network = cloud.admin.make("network", mtu=1300)
    path, none = f"/networks/{network['id']}", {"network": {"mtu": 0}}
    assert cloud.admin("PUT", path, none).json()["network"]["mtu"] == 1450
    cloud.admin.make("subnet", network_id=network["id"], ip_version=4, cidr="10.1.0.0/24")
    assert error_of(cloud.admin("PUT", path, none))[:2] == (409, "NetworkMTUSubnetConflict")


def test_updates(cloud):
    network = cloud.admin.make("network", name="u")
    path = f"/networks/{network['id']}"

    def put(**attrs):
        return cloud.admin("PUT", path, {"network": attrs})

    assert put(mtu=1300).json()["network"]["mtu"] == 1300
    assert put(shared=True).json()["network"]["shared"] is True
    assert put(shared=False).json()["network"]["shared"] is False
    assert put(**{"router:external": True}).json()["network"]["router:external"] is True
    assert cloud.other("GET", path).status_code == 200
    assert put(**{"router:external": False}).json()["network"]["revision_number"] == 6
    assert cloud.other("GET", path).status_code == 404
    assert error_of(put(**{"provider:network_type": "vlan"})) == (
        400,
        "InvalidInput",
        "Invalid input for operation: Plugin does not support updating the following provider network "
        "attributes: provider:network_type, provider:physical_network.",
    )
    assert error_of(put(**{"provider:segmentation_id": 77}))[2] == (
        "Invalid input for operation: Only VLAN type networks can be updated.."
    )
    assert put().json()["network"]["revision_number"] == 6


def test_a_vlan_can_be_changed(cloud):
    vlan = {"provider:network_type": "vlan", "provider:physical_network": "physnet1"}
    first = cloud.admin.make("network", **vlan, **{"provider:segmentation_id": 200})
    second = cloud.admin.make("network", **vlan, **{"provider:segmentation_id": 201})
    body = {"network": {"provider:segmentation_id": 201}}
    assert error_of(cloud.admin("PUT", f"/networks/{first['id']}", body))[1] == "VlanIdInUse"
    cloud.admin("DELETE", f"/networks/{second['id']}")
    answer = cloud.admin("PUT", f"/networks/{first['id']}", body)
    assert answer.json()["network"]["provider:segmentation_id"] == 201
    cloud.admin.make("network", **vlan, **{"provider:segmentation_id": 200})


def test_one_default(cloud):
    first = cloud.admin.make("network", is_default=True, **{"router:external": True})
    answer = cloud.admin("POST", "/networks", {"network": {"is_default": True}})
    assert error_of(answer) == (
        409,
        "DefaultExternalNetworkExists",
        f"A default external network already exists: {first['id']}.",
    )


def test_only_an_external_network_is_the_default(cloud):
    plain = cloud.admin.make("network", is_default=True)
    assert cloud.admin.list(f"/networks/{plain['id']}")["is_default"] is False
    first = cloud.admin.make("network", is_default=True, **{"router:external": True})
    assert first["is_default"] is True
    # One that is closed again is no default any more, also when it is opened once more.
    path = f"/networks/{first['id']}"
    for external in (False, True):
        answer = cloud.admin("PUT", path, {"network": {"router:external": external}})
        assert answer.json()["network"]["is_default"] is False
    assert (
        cloud.admin.make("network", is_default=True, **{"router:external": True})["is_default"]
        is True
    )


def test_bulk_is_all_or_nothing(cloud):
    body = {"networks": [FLAT | {"name": "a"}, FLAT | {"name": "b"}]}
    assert error_of(cloud.admin("POST", "/networks", body))[1] == "FlatNetworkInUse"
    assert cloud.admin.list("/networks") == []
    answer = cloud.member("POST", "/networks", {"networks": [{"name": "a"}, {"name": "b"}]})
    assert answer.status_code == 201
    assert [network["name"] for network in answer.json()["networks"]] == ["a", "b"]


def test_a_stale_revision_is_refused(cloud):
    network = cloud.member.make("network")
    path, body = f"/networks/{network['id']}", {"network": {"name": "x"}}
    stale = {"If-Match": "revision_number=99"}
    assert error_of(cloud.member("PUT", path, body, **stale)) == (
        412,
        "RevisionNumberConstraintFailed",
        "Constrained to 99, but current revision is 1",
    )
    assert cloud.member("DELETE", path, **stale).status_code == 412
    assert cloud.member("PUT", path, body, **{"If-Match": "what"}).status_code == 200
    assert cloud.member("PUT", path, body, **{"If-Match": '"revision_number=2"'}).status_code == 200


def test_zones(cloud):
    answer = cloud.member("POST", "/networks", {"network": {"availability_zone_hints": ["x"]}})
    assert error_of(answer) == (
        404,
        "AvailabilityZoneNotFound",
        "AvailabilityZone x could not be found.",
    )


def test_an_override_file_decides(make_cloud, tmp_path):
    policy = tmp_path / "policy.yaml"
    policy.write_text('"create_network": "role:builder"\n"get_network:mtu": "role:admin"\n')
    cloud = make_cloud(policy_file=str(policy))
    assert error_of(cloud.member("POST", "/networks", {"network": {}}))[0] == 403
    network = cloud.client("builder,member,reader").make("network")
    assert "mtu" not in network
    assert "mtu" in cloud.admin("GET", f"/networks/{network['id']}").json()["network"]
