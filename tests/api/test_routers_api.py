"""Routers over HTTP, by the numbers of the behaviours list; what the rules alone decide is in tests/unit/network."""

import pytest

from tests.support.networking import ONE, TWO, error_of

UNKNOWN = "aaaaaaaa-aaaa-4aaa-8aaa-aaaaaaaaaaaa"


@pytest.fixture
def external(cloud):
    network = cloud.admin.make("network", **{"router:external": True, "project_id": "e" * 32})
    subnet = cloud.admin.make(
        "subnet", network_id=network["id"], cidr="203.0.113.0/24", ip_version=4
    )
    return network | {"subnet_id": subnet["id"]}


@pytest.fixture
def subnet(cloud):
    network = cloud.member.make("network")
    return cloud.member.make("subnet", network_id=network["id"], cidr="10.0.0.0/24", ip_version=4)


def add(client, router, **body):
    return client("PUT", f"/routers/{router['id']}/add_router_interface", body)


def test_a_new_router(cloud):
    router = cloud.member.make("router", name="r")
    assert (
        router["status"] == "ACTIVE"
        and router["external_gateway_info"] is None
        and router["routes"] == []
    )
    assert router["availability_zones"] == router["availability_zone_hints"] == []
    assert router["project_id"] == router["tenant_id"] == ONE
    assert not {"ha", "distributed", "host", "gw_port_id"} & set(router)
    shown = cloud.admin("GET", f"/routers/{router['id']}").json()["router"]
    assert (shown["ha"], shown["distributed"]) == (False, False)


def test_19_no_bulk(cloud):
    answer = cloud.member("POST", "/routers", {"routers": [{"name": "a"}]})
    assert error_of(answer) == (400, "HTTPBadRequest", "Bulk operation not supported")


def test_118_a_gateways_port_is_nobodys(cloud, external):
    router = cloud.member.make("router", external_gateway_info={"network_id": external["id"]})
    query = f"/ports?device_id={router['id']}"
    assert cloud.member.list(query) == []
    port = cloud.admin.list(query)[0]
    assert (port["project_id"], port["device_owner"]) == ("", "network:router_gateway")
    assert error_of(cloud.admin("DELETE", f"/ports/{port['id']}")) == (
        409,
        "ServicePortInUse",
        f"Port {port['id']} cannot be deleted directly via the port API: "
        "has device owner network:router_gateway.",
    )


def test_135_what_is_for_administrators(cloud, external):
    for attrs in ({"ha": False}, {"ha": True}, {"distributed": False}):
        assert error_of(cloud.member("POST", "/routers", {"router": attrs}))[:2] == (
            403,
            "PolicyNotAuthorized",
        )
    assert cloud.admin.make("router", distributed=True)["distributed"] is True
    assert cloud.admin.make("router", ha=False)["ha"] is False
    router = cloud.member.make("router")
    for more in ({"enable_snat": False}, {"external_fixed_ips": [{"ip_address": "203.0.113.9"}]}):
        body = {"router": {"external_gateway_info": {"network_id": external["id"]} | more}}
        assert error_of(cloud.member("PUT", f"/routers/{router['id']}", body))[:2] == (
            403,
            "PolicyNotAuthorized",
        )


def test_137_142_143_an_interface_comes_and_goes(cloud, subnet):
    router = cloud.member.make("router")
    answer = add(cloud.member, router, subnet_id=subnet["id"])
    assert answer.status_code == 200
    port = cloud.member("GET", f"/ports/{answer.json()['port_id']}").json()["port"]
    assert port["fixed_ips"] == [{"subnet_id": subnet["id"], "ip_address": "10.0.0.1"}]
    assert port["device_owner"] == "network:router_interface" and port["security_groups"] == []
    code, kind, message = error_of(cloud.member("DELETE", f"/routers/{router['id']}"))
    assert (code, kind) == (409, "RouterInUse") and port["id"] in message
    assert error_of(cloud.member("DELETE", f"/ports/{port['id']}"))[:2] == (409, "ServicePortInUse")
    # 77: the gateway stays while the router's port holds it.
    moved = cloud.member(
        "PUT", f"/subnets/{subnet['id']}", {"subnet": {"gateway_ip": "10.0.0.254"}}
    )
    assert moved.status_code == 409
    gone = cloud.member(
        "PUT", f"/routers/{router['id']}/remove_router_interface", {"subnet_id": subnet["id"]}
    )
    assert gone.json()["port_id"] == port["id"]
    assert cloud.member("GET", f"/ports/{port['id']}").status_code == 404
    assert cloud.member("DELETE", f"/routers/{router['id']}").status_code == 204


@pytest.mark.parametrize(
    ("body", "error"),
    [
        (
            None,
            (
                400,
                "BadRequest",
                "Bad router request: Either subnet_id or port_id must be specified.",
            ),
        ),
        (
            {},
            (
                400,
                "BadRequest",
                "Bad router request: Either subnet_id or port_id must be specified.",
            ),
        ),
        (
            {"subnet_id": UNKNOWN, "port_id": UNKNOWN},
            (400, "BadRequest", "Bad router request: Cannot specify both subnet-id and port-id."),
        ),
        ({"subnet_id": "x"}, (400, "BadRequest", "Bad router request: 'x' is not a valid UUID.")),
        ({"subnet_id": UNKNOWN}, (404, "SubnetNotFound", f"Subnet {UNKNOWN} could not be found.")),
        ({"port_id": UNKNOWN}, (404, "PortNotFound", f"Port {UNKNOWN} could not be found.")),
    ],
)
def test_138_interfaces_that_are_refused(cloud, body, error):
    router = cloud.member.make("router")
    assert (
        error_of(cloud.member("PUT", f"/routers/{router['id']}/add_router_interface", body))
        == error
    )


def test_137_who_may_not(cloud, subnet):
    router = cloud.member.make("router")
    assert error_of(add(cloud.other, router, subnet_id=subnet["id"]))[:2] == (404, "RouterNotFound")
    assert error_of(add(cloud.reader, router, subnet_id=subnet["id"]))[:2] == (
        403,
        "PolicyNotAuthorized",
    )
    theirs = cloud.other.make("router")
    assert error_of(add(cloud.other, theirs, subnet_id=subnet["id"]))[:2] == (404, "SubnetNotFound")


def test_141_a_network_that_is_shared(cloud):
    network = cloud.admin.make("network", shared=True, project_id=TWO)
    owned = {"network_id": network["id"], "project_id": TWO}
    subnet = cloud.admin.make("subnet", cidr="10.9.0.0/24", ip_version=4, **owned)
    router = cloud.member.make("router")
    # With everyone: no router of others. With this project, by name: yes.
    code, kind, message = error_of(add(cloud.member, router, subnet_id=subnet["id"]))
    assert (code, kind) == (400, "BadRequest") and "is not owned by project" in message
    with cloud.store.writer() as w:
        w.grant(network["id"], ONE, "access_as_shared")
    answer = add(cloud.member, router, subnet_id=subnet["id"])
    assert answer.status_code == 200 and answer.json()["project_id"] == ONE


def test_59_an_external_network_is_no_interface(cloud, external):
    code, kind, _ = error_of(
        add(cloud.other, cloud.other.make("router"), subnet_id=external["subnet_id"])
    )
    assert (code, kind) == (400, "BadRequest")


def test_144_145_gateways(cloud, external, subnet):
    body = {"router": {"external_gateway_info": {"network_id": subnet["network_id"]}}}
    assert error_of(cloud.member("POST", "/routers", body)) == (
        400,
        "BadRequest",
        f"Bad router request: Network {subnet['network_id']} is not an external network.",
    )
    router = cloud.admin.make(
        "router",
        project_id=ONE,
        external_gateway_info={"network_id": external["id"], "enable_snat": False},
    )
    before = router["external_gateway_info"]
    assert before["enable_snat"] is False
    body = {"router": {"external_gateway_info": {"network_id": external["id"]}}}
    after = cloud.member("PUT", f"/routers/{router['id']}", body).json()["router"][
        "external_gateway_info"
    ]
    assert after == before | {"enable_snat": True}
    for wrong in ({"foo": 1}, {"network_id": external["id"], "foo": 1}, "x", []):
        answer = cloud.member(
            "PUT", f"/routers/{router['id']}", {"router": {"external_gateway_info": wrong}}
        )
        assert answer.status_code in (200, 400), answer.text
    cleared = cloud.member(
        "PUT", f"/routers/{router['id']}", {"router": {"external_gateway_info": {}}}
    )
    assert cleared.json()["router"]["external_gateway_info"] is None


def test_147_148_routes(cloud, subnet):
    router = cloud.member.make("router")
    add(cloud.member, router, subnet_id=subnet["id"])
    path = f"/routers/{router['id']}"
    one = {"destination": "192.168.0.0/24", "nexthop": "10.0.0.9"}
    two = {"destination": "192.168.1.0/24", "nexthop": "10.0.0.9"}
    for wrong, kind in (
        ([one | {"nexthop": "10.0.0.1"}], "InvalidRoutes"),
        ([one | {"nexthop": "99.0.0.1"}], "InvalidRoutes"),
        ([one, one], "HTTPBadRequest"),
        ([one | {"destination": "x"}], "HTTPBadRequest"),
    ):
        assert error_of(cloud.member("PUT", path, {"router": {"routes": wrong}}))[:2] == (400, kind)
    many = [one | {"destination": f"10.{n}.0.0/16"} for n in range(1, 32)]
    assert error_of(cloud.member("PUT", path, {"router": {"routes": many}}))[:2] == (
        409,
        "OverQuota",
    )
    cloud.member("PUT", path, {"router": {"routes": [one]}})
    added = cloud.member("PUT", f"{path}/add_extraroutes", {"router": {"routes": [two, one]}})
    assert added.json()["router"]["routes"] == [one, two]
    left = cloud.member("PUT", f"{path}/remove_extraroutes", {"router": {"routes": [one]}})
    assert left.json()["router"]["routes"] == [two]
    gone = cloud.member("PUT", f"{path}/remove_router_interface", {"subnet_id": subnet["id"]})
    assert error_of(gone)[:2] == (409, "RouterInterfaceInUseByRoute")


@pytest.mark.parametrize(
    "body",
    [
        None,
        {},
        {"router": {}},
        {"router": {"routes": "x"}},
        {"router": {"routes": [{}]}},
        {"router": []},
        {"routes": []},
    ],
)
def test_150_what_makes_neutron_fail_is_a_plain_400_here(cloud, body):
    router = cloud.member.make("router")
    for action in ("add_extraroutes", "remove_extraroutes"):
        answer = cloud.member("PUT", f"/routers/{router['id']}/{action}", body)
        assert answer.status_code == 400, answer.text
    for action in ("add_external_gateways", "foo"):
        assert cloud.member("PUT", f"/routers/{router['id']}/{action}", body).status_code == 404


def test_no_interface_on_what_one_does_not_see(cloud):
    """A subnet of one's own on a network of others, and an address of others' subnets on one's own network."""
    network = cloud.other.make("network")["id"]
    router = cloud.member.make("router")["id"]
    subnet = {"network_id": network, "cidr": "10.5.0.0/24", "ip_version": 4}
    mine = cloud.admin.make("subnet", project_id=ONE, **subnet)["id"]
    answer = cloud.member("PUT", f"/routers/{router}/add_router_interface", {"subnet_id": mine})
    assert error_of(answer)[:2] == (404, "NetworkNotFound")
    theirs = cloud.other.make("router")["id"]
    port = cloud.admin.make(
        "port", network_id=network, project_id=TWO, fixed_ips=[{"subnet_id": mine}]
    )
    answer = cloud.other("PUT", f"/routers/{theirs}/add_router_interface", {"port_id": port["id"]})
    assert error_of(answer)[:2] == (404, "SubnetNotFound")
