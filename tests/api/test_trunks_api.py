"""Trunks over HTTP, against what Neutron 29 answered (asked of the oracle)."""

import pytest

from netloom.model import HostFacts
from tests.support.networking import error_of

NOBODY = "5c2f6d6e-0000-4000-8000-000000000001"


@pytest.fixture
def world(cloud):
    """A parent and three further ports on two networks, and a port on a VLAN network."""
    cloud.one, cloud.two = (cloud.admin.make("network") for _ in range(2))
    vlan = {"provider:network_type": "vlan", "provider:physical_network": "physnet1"}
    cloud.tagged = cloud.admin.make("network", mtu=1400, **vlan)
    cloud.large = cloud.admin.make("network", **vlan)

    def port(network, **more):
        return cloud.admin.make("port", network_id=network["id"], **more)

    cloud.port = port
    cloud.parent = port(cloud.one)
    cloud.subs = [port(cloud.two) for _ in range(3)]
    with cloud.store.writer() as w:
        facts = HostFacts(host="c1", tunnel_ip="192.0.2.1")
        w.put_host("c1", secret_hash="-", facts=facts)
        w.heartbeat("c1", 2**40, 0)
    return cloud


def sub(port, tag=None, kind="vlan"):
    entry = {"port_id": port if isinstance(port, str) else port["id"]}
    return entry | ({} if tag is None else {"segmentation_id": tag, "segmentation_type": kind})


def trunk_of(world, *subs, **more):
    return world.admin.make("trunk", port_id=world.parent["id"], sub_ports=list(subs), **more)


def act(world, trunk, action, *subs, who=None):
    path = f"/trunks/{trunk['id']}/{action}"
    return (who or world.admin)("PUT", path, {"sub_ports": list(subs)})


def shown(world, port):
    return world.admin("GET", f"/ports/{port['id']}").json()["port"]


def test_169_a_trunk_as_it_is_shown(world):
    one, two, three = world.subs
    trunk = trunk_of(world, sub(one, 10), name="t")
    assert {key: trunk[key] for key in ("name", "admin_state_up", "status", "port_id")} == {
        "name": "t",
        "admin_state_up": True,
        "status": "DOWN",
        "port_id": world.parent["id"],
    }
    assert trunk["tenant_id"] == trunk["project_id"] and trunk["tags"] == []
    first = {"port_id": one["id"], "segmentation_type": "vlan", "segmentation_id": 10}
    assert trunk["sub_ports"] == [first]
    added = act(world, trunk, "add_subports", sub(two, "20"))
    assert added.status_code == 200
    second = {"port_id": two["id"], "segmentation_type": "vlan", "segmentation_id": 20}
    assert added.json()["sub_ports"] == [first, second]  # without a wrapper around it
    got = world.reader("GET", f"/trunks/{trunk['id']}/get_subports")
    assert (got.status_code, got.json()) == (200, {"sub_ports": [first, second]})
    removed = act(world, trunk, "remove_subports", sub(one)).json()
    assert removed["sub_ports"] == [second]
    found = world.admin("GET", f"/trunks?port_id={world.parent['id']}").json()["trunks"]
    assert [each["id"] for each in found] == [trunk["id"]]
    assert world.admin("GET", f"/trunks?port_id={three['id']}").json() == {"trunks": []}
    assert act(world, trunk, "add_subports").json()["sub_ports"] == [second]
    assert world.admin("DELETE", f"/trunks/{trunk['id']}").status_code == 204
    for port in (world.parent, two):
        assert world.admin("DELETE", f"/ports/{port['id']}").status_code == 204


def test_a_port_shows_the_details_of_its_trunk(world):
    one, two, _ = world.subs
    trunk = trunk_of(world, sub(one, 10))
    details = {
        "trunk_id": trunk["id"],
        "sub_ports": [
            {
                "segmentation_id": 10,
                "segmentation_type": "vlan",
                "port_id": one["id"],
                "mac_address": one["mac_address"],
            }
        ],
    }
    assert shown(world, world.parent)["trunk_details"] == details
    listed = {port["id"]: port for port in world.admin("GET", "/ports").json()["ports"]}
    assert listed[world.parent["id"]]["trunk_details"] == details
    for port in (shown(world, one), listed[one["id"]], listed[two["id"]]):
        assert not [name for name in port if name.startswith("trunk")]
    mac = "fa:16:3e:00:00:77"
    world.admin("PUT", f"/ports/{one['id']}", {"port": {"mac_address": mac}})
    assert shown(world, world.parent)["trunk_details"]["sub_ports"][0]["mac_address"] == mac
    act(world, trunk, "remove_subports", sub(one))
    assert shown(world, world.parent)["trunk_details"]["sub_ports"] == []
    world.admin("DELETE", f"/trunks/{trunk['id']}")
    assert "trunk_details" not in shown(world, world.parent)


def test_169_what_is_no_subport(world):
    one, two, three = world.subs
    trunk = trunk_of(world, sub(one, 10))
    other = world.admin.make("trunk", port_id=two["id"])
    used = world.port(world.two, device_id="vm1", device_owner="compute:nova")

    def refused(*subs):
        return error_of(act(world, trunk, "add_subports", *subs))

    bad = (400, "InvalidInput")
    invalid = "Invalid input for operation: "
    for tag in (4095, 0, -1):
        assert refused(sub(three, tag)) == (
            *bad,
            f"{invalid}Segmentation ID '{tag}' is not in range.",
        )
    assert refused(sub(three, "x")) == (
        *bad,
        f"{invalid}Invalid subport details: segmentation_id 'x' is not an integer.",
    )
    assert refused(sub(three, 5, "vxlan")) == (*bad, f"{invalid}Unknown segmentation_type 'vxlan'.")
    inherit = {"port_id": three["id"], "segmentation_type": "inherit"}
    assert refused(inherit) == (*bad, f"{invalid}Unknown segmentation_type 'vxlan'.")
    assert refused(sub(three)) == (
        *bad,
        f"{invalid}Invalid subport details '{{'port_id': '{three['id']}'}}': missing segmentation "
        "information. Must specify both segmentation_id and segmentation_type.",
    )
    assert refused({}) == (*bad, f"{invalid}A valid port UUID must be specified.")
    assert refused(sub(three, 20), sub(three, 21)) == (
        *bad,
        f"{invalid}Non unique UUID for subport: '{three['id']}'.",
    )
    for strange in (
        3,
        {"port_id": []},
        {"port_id": three["id"], "segmentation_id": [], "segmentation_type": {}},
    ):
        assert refused(strange)[0] == 400
    assert refused(sub(three, 10)) == (
        409,
        "DuplicateSubPort",
        f"segmentation_type vlan and segmentation_id 10 already in use on trunk {trunk['id']}.",
    )
    assert refused(sub(one, 11)) == (
        409,
        "TrunkPortInUse",
        f"Port {one['id']} is in use by another trunk.",
    )
    for port in (world.parent, two):
        assert refused(sub(port, 12)) == (
            409,
            "ParentPortInUse",
            f"Port {port['id']} is currently in use and is not eligible for use as a parent port.",
        )
    assert refused(sub(NOBODY, 12))[:2] == (404, "PortNotFound")
    assert refused(sub(used, 12))[:2] == (409, "PortInUse")
    assert refused(sub(world.port(world.large), 12))[:2] == (
        409,
        "SubPortMtuGreaterThanTrunkPortMtu",
    )
    inherited = {"port_id": world.port(world.tagged)["id"], "segmentation_type": "inherit"}
    assert act(world, trunk, "add_subports", inherited).json()["sub_ports"][1] == {
        "port_id": inherited["port_id"],
        "segmentation_type": "vlan",
        "segmentation_id": world.tagged["provider:segmentation_id"],
    }
    assert error_of(act(world, trunk, "remove_subports", sub(three))) == (
        404,
        "SubPortNotFound",
        f"SubPort {three['id']} on trunk {trunk['id']} could not be found.",
    )
    answer = world.admin("PUT", f"/trunks/{trunk['id']}/add_subports", {})
    assert error_of(answer)[0] == 400  # Neutron: 500
    assert other["status"] == "DOWN"


def test_169_what_is_no_trunk(world):
    one, two, _ = world.subs
    trunk = trunk_of(world, sub(one, 10))

    def refused(**trunk):
        return error_of(world.admin("POST", "/trunks", {"trunk": trunk}))

    in_use = "is currently in use and is not eligible for use as a parent port."
    parent = world.parent["id"]
    assert refused(port_id=parent) == (409, "ParentPortInUse", f"Port {parent} {in_use}")
    assert refused(port_id=one["id"])[:2] == (409, "TrunkPortInUse")
    assert refused(port_id=two["id"], sub_ports=[sub(two, 5)])[:2] == (409, "ParentPortInUse")
    assert refused(port_id=NOBODY)[:2] == (404, "PortNotFound")
    assert refused()[:2] == (400, "HTTPBadRequest")
    assert refused(port_id=two["id"], sub_ports="x") == (
        400,
        "HTTPBadRequest",
        "Invalid input for sub_ports. Reason: Invalid data format for subports: 'x' is not a list.",
    )
    bound = world.port(world.two, **{"binding:host_id": "c1", "device_owner": "compute:nova"})
    assert refused(port_id=bound["id"])[:2] == (409, "ParentPortInUse")
    several = {"trunks": [{"port_id": two["id"]}]}
    assert error_of(world.admin("POST", "/trunks", several)) == (
        400,
        "HTTPBadRequest",
        "Bulk operation not supported",
    )
    answer = world.admin("PUT", f"/trunks/{trunk['id']}", {"trunk": {"port_id": two["id"]}})
    assert error_of(answer)[:2] == (400, "HTTPBadRequest")
    assert error_of(world.admin("GET", f"/trunks/{NOBODY}"))[:2] == (404, "TrunkNotFound")


def test_169_ports_of_a_trunk_do_not_go(world):
    one = world.subs[0]
    trunk = trunk_of(world, sub(one, 10))
    parent = world.parent["id"]
    assert error_of(world.admin("DELETE", f"/ports/{parent}")) == (
        409,
        "PortInUseAsTrunkParent",
        f"Port {parent} is currently a parent port for trunk {trunk['id']}.",
    )
    assert error_of(world.admin("DELETE", f"/ports/{one['id']}")) == (
        409,
        "PortInUseAsSubPort",
        f"Port {one['id']} is currently a subport for trunk {trunk['id']}.",
    )


def test_a_disabled_trunk_is_not_changed(world):
    one, two, _ = world.subs
    trunk = trunk_of(world, sub(one, 10), admin_state_up=False)
    disabled = (409, "TrunkDisabled", f"Trunk {trunk['id']} is currently disabled.")
    assert error_of(act(world, trunk, "add_subports", sub(two, 20))) == disabled
    assert error_of(act(world, trunk, "remove_subports", sub(one))) == disabled
    assert error_of(world.admin("DELETE", f"/trunks/{trunk['id']}")) == disabled
    up = {"trunk": {"admin_state_up": True, "name": "n", "description": "d"}}
    changed = world.admin("PUT", f"/trunks/{trunk['id']}", up).json()["trunk"]
    assert (changed["name"], changed["description"]) == ("n", "d")
    assert act(world, trunk, "add_subports", sub(two, 20)).status_code == 200


def test_169_subports_are_bound_where_their_parent_is(world):
    one, two, three = world.subs
    trunk = trunk_of(world, sub(one, 10))
    path = f"/ports/{world.parent['id']}"
    server = {"binding:host_id": "c1", "device_owner": "compute:nova", "device_id": "vm1"}
    assert world.admin("PUT", path, {"port": server}).status_code == 200
    act(world, trunk, "add_subports", sub(two, 20))

    def binding(port):
        found = shown(world, port)
        return found["binding:host_id"], found["binding:vif_type"], found["device_owner"]

    for port in (one, two):
        assert binding(port) == ("c1", "ovs", "trunk:subport")
    assert binding(three) == ("", "unbound", "")
    assert error_of(world.admin("DELETE", f"/trunks/{trunk['id']}")) == (
        409,
        "TrunkInUse",
        f"Trunk {trunk['id']} is currently in use.",
    )
    act(world, trunk, "remove_subports", sub(two))
    assert binding(two) == ("", "unbound", "")
    free = {"binding:host_id": "", "device_owner": "", "device_id": ""}
    world.admin("PUT", path, {"port": free})
    assert binding(one) == ("", "unbound", "")
    assert world.admin("DELETE", f"/trunks/{trunk['id']}").status_code == 204


def test_whose_trunks(world):
    one = world.subs[0]
    trunk = trunk_of(world, sub(one, 10))
    assert world.other("GET", f"/trunks/{trunk['id']}").status_code == 404
    assert act(world, trunk, "add_subports", who=world.other).status_code == 404
    assert world.reader("DELETE", f"/trunks/{trunk['id']}").status_code == 403
    assert act(world, trunk, "add_subports", who=world.reader).status_code == 403
    theirs = world.other.make("network")
    port = world.other.make("port", network_id=theirs["id"])
    foreign = {"trunk": {"port_id": world.subs[1]["id"]}}
    assert error_of(world.other("POST", "/trunks", foreign))[:2] == (404, "PortNotFound")
    own = world.other.make("trunk", port_id=port["id"])
    refused = act(world, own, "add_subports", sub(world.subs[1], 5), who=world.other)
    assert error_of(refused)[:2] == (404, "PortNotFound")


def test_165_trunks_have_a_quota_without_a_limit(world):
    assert world.admin("GET", f"/quotas/{world.one['project_id']}").json()["quota"]["trunk"] == -1
    extensions = world.admin("GET", "/extensions").json()["extensions"]
    assert {"trunk", "trunk-details"} <= {extension["alias"] for extension in extensions}
