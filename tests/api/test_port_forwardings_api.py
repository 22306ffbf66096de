"""Port forwardings over HTTP: a noun behind another noun in the path."""

from __future__ import annotations

import pytest

from tests.support.networking import TWO, error_of


class Forwarding:
    """A project's floating IP, router and port, and requests for port forwardings."""

    def __init__(self, cloud):
        self.cloud = cloud
        external = cloud.admin.make("network", **{"router:external": True})["id"]
        cloud.admin.make("subnet", network_id=external, ip_version=4, cidr="203.0.113.0/24")
        member = cloud.member
        network = member.make("network")["id"]
        self.subnet = member.make("subnet", network_id=network, ip_version=4, cidr="10.0.0.0/24")[
            "id"
        ]
        self.router = member.make("router", external_gateway_info={"network_id": external})["id"]
        fixed = [{"subnet_id": self.subnet, "ip_address": ip} for ip in ("10.0.0.50", "10.0.0.51")]
        self.port = member.make("port", network_id=network, fixed_ips=fixed)["id"]
        self.other = member.make("port", network_id=network)["id"]
        self.fip, self.free = (
            member.make("floatingip", floating_network_id=external)["id"] for _ in range(2)
        )
        self.interface("add")

    def interface(self, verb, client=None):
        path = f"/routers/{self.router}/{verb}_router_interface"
        return self.cloud.member("PUT", path, {"subnet_id": self.subnet})

    def path(self, id="", fip=None):
        return f"/floatingips/{fip or self.fip}/port_forwardings{id and '/' + id}"

    def post(self, client=None, fip=None, **more):
        body = {
            "protocol": "tcp",
            "external_port": 2222,
            "internal_port": 22,
            "internal_ip_address": "10.0.0.50",
            "internal_port_id": self.port,
        }
        body = {name: value for name, value in (body | more).items() if value is not None}
        return (client or self.cloud.member)("POST", self.path(fip=fip), {"port_forwarding": body})

    def make(self, **more):
        answer = self.post(**more)
        assert answer.status_code == 201, answer.text
        return answer.json()["port_forwarding"]

    def put(self, at, client=None, **attrs):
        return (client or self.cloud.member)("PUT", self.path(at), {"port_forwarding": attrs})

    def floating(self, fip=None):
        return self.cloud.member("GET", f"/floatingips/{fip or self.fip}").json()["floatingip"]


@pytest.fixture
def asked(cloud):
    return Forwarding(cloud)


def test_what_is_shown(asked):
    made = asked.make()
    shown = {
        "id": made["id"],
        "protocol": "tcp",
        "external_port": 2222,
        "external_port_range": "2222:2222",
        "internal_port": 22,
        "internal_port_range": "22:22",
        "internal_ip_address": "10.0.0.50",
        "internal_port_id": asked.port,
        "description": "",
    }
    assert made == shown
    assert asked.cloud.member("GET", asked.path(made["id"])).json() == {"port_forwarding": shown}
    assert asked.cloud.member("GET", asked.path()).json() == {"port_forwardings": [shown]}
    fip = asked.floating()
    assert fip["router_id"] == asked.router and fip["port_id"] is None
    names = ("id", "protocol", "external_port", "internal_port", "internal_ip_address")
    assert fip["port_forwardings"] == [{name: shown[name] for name in (*names, "internal_port_id")}]
    assert asked.floating(asked.free)["port_forwardings"] == []


def test_ranges(asked):
    no = {"external_port": None, "internal_port": None}
    made = asked.make(**no, external_port_range="3000:3010", internal_port_range="4000:4010")
    assert made["external_port"] is None and made["internal_port_range"] == "4000:4010"
    many = asked.make(external_port=None, external_port_range="3100:3110", internal_port=5000)
    assert many["internal_port_range"] == "5000:5000"
    answer = asked.post(**no, external_port_range="1:5", internal_port_range="6000:6001")
    assert error_of(answer)[:2] == (400, "BadRequest")
    answer = asked.post(external_port=3005, internal_port=9)
    assert error_of(answer) == (
        400,
        "BadRequest",
        "Bad port_forwarding request: There is a port collision with the external_port_range. The "
        "following ranges collide: 3000:3010 and 3005:3005.",
    )


@pytest.mark.parametrize(
    ("more", "says"),
    [
        ({"external_port": None}, "Either external_port or external_port_range"),
        ({"internal_port": None}, "Either internal_port or internal_port_range"),
        ({"protocol": "icmp"}, "Protocol icmp has no ports"),
        ({"external_port": 0}, "too small"),
        ({"external_port": 70000}, "too large"),
        ({"internal_ip_address": "10.0.0.99"}, "is not suitable for internal neutron port"),
        ({"internal_ip_address": None}, "Required attribute 'internal_ip_address'"),
        ({"name": "x"}, "Unrecognized attribute(s) 'name'"),
    ],
)
def test_what_is_refused(asked, more, says):
    answer = asked.post(**more)
    assert error_of(answer)[0] == 400 and says in error_of(answer)[2]


def test_who_may(asked):
    made = asked.make()
    others = asked.cloud.other
    assert error_of(asked.post(others, external_port=1, internal_port=1))[:2] == (
        403,
        "PolicyNotAuthorized",
    )
    for method in ("GET", "DELETE"):
        assert error_of(others(method, asked.path(made["id"])))[:2] == (404, "FloatingIPNotFound")
    assert error_of(others("GET", asked.path()))[:2] == (404, "FloatingIPNotFound")
    reader = asked.cloud.reader
    assert reader("GET", asked.path(made["id"])).status_code == 200
    assert error_of(reader("DELETE", asked.path(made["id"])))[0] == 403
    assert asked.put(made["id"], reader, description="x").status_code == 403
    # Through another floating IP of the project it is not there, and at no path of its own.
    path = asked.path(made["id"], asked.free)
    assert error_of(asked.cloud.member("GET", path))[:2] == (404, "PortForwardingNotFound")
    assert asked.cloud.member("GET", asked.path(fip=asked.free)).json() == {"port_forwardings": []}
    assert error_of(asked.cloud.admin("GET", "/port_forwardings"))[0] == 404
    assert error_of(asked.cloud.admin("GET", f"/port-forwardings/{made['id']}"))[0] == 404
    made = asked.post(
        asked.cloud.client("admin,member,reader", TWO), external_port=9, internal_port=9
    )
    assert made.status_code == 201


def test_a_change(asked):
    made = asked.make()
    asked.make(external_port=3000, internal_port=3000)
    assert (
        asked.put(made["id"], external_port=2223).json()["port_forwarding"]["external_port"] == 2223
    )
    assert "3000:3000 and 3000:3000" in error_of(asked.put(made["id"], external_port=3000))[2]
    assert asked.put(made["id"], internal_ip_address="10.0.0.51").status_code == 200
    answer = asked.put(made["id"], internal_ip_address="10.0.0.77")
    assert "The internal IP does not correspond" in error_of(answer)[2]
    moved = asked.put(made["id"], internal_port_id=asked.other).json()["port_forwarding"]
    assert moved["internal_port_id"] == asked.other
    assert moved["internal_ip_address"] not in ("10.0.0.50", "10.0.0.51")
    assert error_of(asked.put(made["id"], id=asked.port))[0] == 400
    assert error_of(asked.put(asked.port, external_port=1))[:2] == (404, "PortForwardingNotFound")


def test_what_is_in_use(asked):
    made, member = asked.make(), asked.cloud.member
    path = f"/floatingips/{asked.fip}"
    in_use = (409, "FipInUseByPortForwarding")
    assert error_of(member("PUT", path, {"floatingip": {"port_id": asked.other}}))[:2] == in_use
    assert error_of(member("DELETE", path))[:2] == in_use
    assert member("PUT", path, {"floatingip": {"port_id": None}}).status_code == 200
    assert asked.floating()["router_id"] == asked.router
    assert error_of(asked.interface("remove"))[:2] == (409, "RouterInterfaceInUseByFloatingIP")
    gateway = {"router": {"external_gateway_info": None}}
    answer = member("PUT", f"/routers/{asked.router}", gateway)
    assert error_of(answer)[:2] == (409, "RouterExternalGatewayInUseByFloatingIp")
    # A port with a floating IP of its own, and a floating IP with a port of its own.
    body = {"floatingip": {"port_id": asked.other}}
    assert member("PUT", f"/floatingips/{asked.free}", body).status_code == 200
    address = member("GET", f"/ports/{asked.other}").json()["port"]["fixed_ips"][0]["ip_address"]
    own = {"internal_port_id": asked.other, "internal_ip_address": address}
    answer = asked.post(external_port=60, internal_port=60, **own)
    assert error_of(answer)[:2] == (409, "PortHasBindingFloatingIP")
    answer = asked.post(fip=asked.free, external_port=1, internal_port=1)
    assert error_of(answer)[:2] == (409, "FloatingIPPortAlreadyAssociated")
    assert member("DELETE", asked.path(made["id"])).status_code == 204
    assert asked.floating()["router_id"] is None
    assert member("DELETE", path).status_code == 204


def test_it_ends_with_the_address_and_with_the_port(asked):
    asked.make()
    kept = asked.make(internal_ip_address="10.0.0.51", external_port=2223)
    fixed = [{"subnet_id": asked.subnet, "ip_address": "10.0.0.51"}]
    body = {"port": {"fixed_ips": fixed}}
    assert asked.cloud.member("PUT", f"/ports/{asked.port}", body).status_code == 200
    left = asked.cloud.member("GET", asked.path()).json()["port_forwardings"]
    assert [each["id"] for each in left] == [kept["id"]]
    assert asked.floating()["router_id"] == asked.router
    assert asked.cloud.member("DELETE", f"/ports/{asked.port}").status_code == 204
    assert asked.cloud.member("GET", asked.path()).json() == {"port_forwardings": []}
    fip = asked.floating()
    assert fip["router_id"] is None and fip["port_forwardings"] == [] and fip["status"] == "DOWN"


def test_filters(asked):
    one = asked.make()
    two = asked.make(protocol="udp", description="second")
    for query, found in (
        ("protocol=udp", [two]),
        ("external_port=2222&protocol=tcp", [one]),
        ("description=second", [two]),
        ("external_port_range=2222:2222&protocol=tcp", [one]),
        (f"internal_port_id={asked.port}&sort_key=protocol&sort_dir=desc", [two, one]),
    ):
        assert asked.cloud.member.list(f"{asked.path()}?{query}") == found, query
    for query in ("internal_port=22", "internal_ip_address=10.0.0.50", "floatingip_id=x"):
        answer = asked.cloud.member("GET", f"{asked.path()}?{query}")
        assert "is invalid attribute for filtering" in error_of(answer)[2]
