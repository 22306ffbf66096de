"""IPv6 addresses of ports and routers, against what Neutron 29 answered (asked of the oracle): behaviours 79, 89–97, 140."""

import pytest

from netloom.model import Subnet
from netloom.network import slaac
from tests.support.networking import error_of

SLAAC = {"ipv6_ra_mode": "slaac", "ipv6_address_mode": "slaac"}
STATELESS = {"ipv6_ra_mode": "dhcpv6-stateless", "ipv6_address_mode": "dhcpv6-stateless"}


class Net:
    """A network, and what is asked of it."""

    def __init__(self, cloud, **attrs):
        self.cloud = cloud
        self.id = cloud.admin.make("network", project_id="1" * 32, **attrs)["id"]

    def subnet(self, cidr, **attrs):
        version = 6 if ":" in cidr else 4
        return self.cloud.member.make(
            "subnet", network_id=self.id, ip_version=version, cidr=cidr, **attrs
        )["id"]

    def ask(self, **attrs):
        return self.cloud.admin(
            "POST", "/ports", {"port": {"network_id": self.id, "project_id": "1" * 32} | attrs}
        )

    def port(self, **attrs):
        answer = self.ask(**attrs)
        assert answer.status_code == 201, answer.text
        return answer.json()["port"]

    def again(self, port):
        return self.cloud.admin("GET", f"/ports/{port['id']}").json()["port"]

    def change(self, port, **attrs):
        answer = self.cloud.admin("PUT", f"/ports/{port['id']}", {"port": attrs})
        assert answer.status_code == 200, answer.text
        return answer.json()["port"]


@pytest.fixture
def net(cloud):
    return Net(cloud)


def of(port):
    """Subnet → the port's address in it."""
    return {fixed["subnet_id"]: fixed["ip_address"] for fixed in port["fixed_ips"]}


def derived(net, subnet, mac):
    with net.cloud.store.reader() as r:
        return slaac.address(r.get(Subnet, subnet), mac)


def test_89_one_address_of_each_version_and_of_each_announced_prefix(net):
    v4, other = net.subnet("10.0.0.0/24"), net.subnet("10.0.1.0/24")
    auto, less = net.subnet("fd01::/64", **SLAAC), net.subnet("fd02::/64", **STATELESS)
    full = net.subnet("fd03::/64")
    port = net.port(mac_address="fa:16:3e:00:00:61")
    has = of(port)
    assert len({v4, other} & has.keys()) == 1
    assert {auto, less, full} < has.keys() and len(has) == 4
    assert has[auto] == "fd01::f816:3eff:fe00:61" and has[less] == "fd02::f816:3eff:fe00:61"
    assert has[full].startswith("fd03::")
    for asked in ([], [{"subnet_id": auto}]):
        assert of(net.port(fixed_ips=asked)).keys() == {auto, less}
    assert of(net.port(fixed_ips=[{"subnet_id": v4}])).keys() == {v4, auto, less}
    assert of(net.port(fixed_ips=[{"ip_address": "FD03:0::9"}]))[full] == "fd03::9"


def test_93_96_addresses_that_a_port_cannot_have(net):
    auto, full = net.subnet("fd01::/64", **SLAAC), net.subnet("fd03::/64")
    net.port(fixed_ips=[{"ip_address": "fd03::9"}])
    for entry, more, code, kind in (
        ({"ip_address": "fd03:0:0::9"}, {}, 409, "IpAddressAlreadyAllocated"),
        ({"ip_address": "fd01::9"}, {}, 400, "AllocationOnAutoAddressSubnet"),
        ({"ip_address": "fd01::9", "subnet_id": auto}, {}, 400, "AllocationOnAutoAddressSubnet"),
        ({"ip_address": "fd03::8", "subnet_id": auto}, {}, 400, "InvalidIpForSubnet"),
        ({"ip_address": "fd09::8"}, {}, 400, "InvalidIpForNetwork"),
        ({"ip_address": "fd03::"}, {"device_owner": "compute:x"}, 400, "InvalidIpForNetwork"),
        (
            {"ip_address": "fd01::f816:3eff:fe00:61"},
            {"mac_address": "fa:16:3e:00:00:61"},
            409,
            "IpAddressAlreadyAllocated",
        ),
    ):
        assert error_of(net.ask(fixed_ips=[entry], **more))[:2] == (code, kind), entry
    assert of(net.port(fixed_ips=[{"ip_address": "fd03::"}]))[full] == "fd03::"


def test_a_new_prefix_is_given_to_the_ports_that_are_there_and_taken_with_it(net):
    v4 = net.subnet("10.0.0.0/24")
    port, interface = net.port(), net.port(device_owner="network:router_interface")
    auto = net.subnet("fd01::/64", **SLAAC)
    assert of(net.again(port))[auto] == derived(net, auto, port["mac_address"])
    assert of(net.again(interface)).keys() == {v4}
    full = net.subnet("fd03::/64")
    assert full not in of(net.again(port))
    assert net.cloud.member("DELETE", f"/subnets/{auto}").status_code == 204
    assert of(net.again(port)).keys() == {v4}
    net.port(fixed_ips=[{"subnet_id": full}])
    assert error_of(net.cloud.member("DELETE", f"/subnets/{full}"))[:2] == (409, "SubnetInUse")


def test_a_port_keeps_what_it_has_by_itself(net):
    v4, auto = net.subnet("10.0.0.0/24"), net.subnet("fd01::/64", **SLAAC)
    full = net.subnet("fd03::/64")
    port = net.port()
    own = of(port)[auto]
    for asked, left in (
        ([{"subnet_id": v4}], {v4, auto}),
        ([], {auto}),
        ([{"subnet_id": auto}], {auto}),
        ([{"subnet_id": full}, {"subnet_id": v4}], {v4, auto, full}),
        ([{"subnet_id": full, "ip_address": "fd03::77"}], {auto, full}),
    ):
        has = of(net.change(port, fixed_ips=asked))
        assert has.keys() == left and has[auto] == own, asked
    answer = net.cloud.admin(
        "PUT", f"/ports/{port['id']}", {"port": {"fixed_ips": [{"ip_address": "fd01::5"}]}}
    )
    assert error_of(answer)[1] == "AllocationOnAutoAddressSubnet"


def test_another_mac_address_makes_other_addresses(net):
    v4, auto = net.subnet("10.0.0.0/24"), net.subnet("fd01::/64", **SLAAC)
    port = net.port()
    first = of(port)
    changed = of(net.change(port, mac_address="fa:16:3e:00:01:01"))
    assert changed[auto] == "fd01::f816:3eff:fe00:101" and changed[v4] == first[v4]
    changed = of(net.change(port, mac_address="fa:16:3e:00:01:02", fixed_ips=[]))
    assert changed == {auto: "fd01::f816:3eff:fe00:102"}
    # What it had is free again.
    assert of(net.port(mac_address="fa:16:3e:00:01:01"))[auto] == "fd01::f816:3eff:fe00:101"


def test_a_derived_address_in_a_pool_is_drawn_anew(net):
    full = net.subnet("fd03::/64")
    port = net.port(fixed_ips=[{"ip_address": "fd03::f816:3eff:fe00:201"}])
    assert of(net.change(port, fixed_ips=[{"subnet_id": full}]))[full] != of(port)[full]


def add(net, router, **attrs):
    return net.cloud.member("PUT", f"/routers/{router}/add_router_interface", attrs)


def take(net, router, **attrs):
    return net.cloud.member("PUT", f"/routers/{router}/remove_router_interface", attrs)


def test_140_one_router_port_has_all_prefixes_of_a_network(net):
    v4, auto = net.subnet("10.0.0.0/24"), net.subnet("fd01::/64", **SLAAC)
    full, same = net.subnet("fd03::/64"), net.subnet("fd04::/64")
    router = net.cloud.member.make("router")["id"]
    first = add(net, router, subnet_id=auto).json()
    second = add(net, router, subnet_id=full).json()
    third = add(net, router, subnet_id=v4).json()
    assert first["port_id"] == second["port_id"] != third["port_id"]
    assert second["subnet_ids"] == [full] and second["subnet_id"] == full
    port = {"id": first["port_id"]}
    assert of(net.again(port)) == {auto: "fd01::", full: "fd03::"}
    assert error_of(add(net, router, subnet_id=full))[1] == "BadRequest"
    apart = net.port(fixed_ips=[{"subnet_id": same}])
    second_port = error_of(add(net, router, port_id=apart["id"]))
    assert second_port[1] == "BadRequest" and "Only one IPv6 port" in second_port[2]
    assert error_of(net.cloud.member("DELETE", f"/subnets/{auto}"))[1] == "SubnetInUse"
    assert take(net, router, subnet_id=auto).json()["port_id"] == first["port_id"]
    assert of(net.again(port)) == {full: "fd03::"}
    assert error_of(take(net, router, subnet_id=auto))[1] == "RouterInterfaceNotFoundForSubnet"
    assert take(net, router, port_id=port["id"]).json()["subnet_ids"] == [full]
    assert net.cloud.member("GET", f"/ports/{port['id']}").status_code == 404


def test_subnets_that_a_router_cannot_announce(net):
    router = net.cloud.member.make("router")["id"]
    for subnet, kind in (
        (net.subnet("fd01::/64", ipv6_address_mode="slaac"), "BadRequest"),
        (net.subnet("fd02::/64", gateway_ip=None), "BadRequest"),
        (net.subnet("fd03::/64", gateway_ip="fe80::1"), "InvalidIpForSubnet"),
    ):
        assert error_of(add(net, router, subnet_id=subnet))[:2] == (400, kind)
    added = net.port(fixed_ips=[])
    assert error_of(add(net, router, port_id=added["id"]))[1] == "BadRequest"


def test_prefixes_of_a_router_do_not_overlap(cloud, net):
    router = net.cloud.member.make("router")["id"]
    add(net, router, subnet_id=net.subnet("fd01::/64"))
    other = Net(cloud).subnet("fd01::/80")
    refused = error_of(add(net, router, subnet_id=other))
    assert refused[1] == "BadRequest" and "overlaps with cidr fd01::/64" in refused[2]


def test_routes(net):
    router = net.cloud.member.make("router")["id"]
    add(net, router, subnet_id=net.subnet("fd01::/64"))

    def put(destination, nexthop):
        routes = [{"destination": destination, "nexthop": nexthop}]
        return net.cloud.member("PUT", f"/routers/{router}", {"router": {"routes": routes}})

    for destination in ("2001:db8::/32", "::/0"):
        assert put(destination, "FD01::9").json()["router"]["routes"] == [
            {"destination": destination, "nexthop": "fd01::9"}
        ]
    for nexthop in ("fd09::9", "fe80::9", "fd01::"):
        assert error_of(put("2001:db8::/32", nexthop))[:2] == (400, "InvalidRoutes"), nexthop
    subnet = net.cloud.member.list("/subnets?ip_version=6")[0]["id"]
    assert error_of(take(net, router, subnet_id=subnet))[1] == "RouterInterfaceInUseByRoute"


def test_gateways_have_both_families(cloud):
    outside = Net(cloud, **{"router:external": True})
    v4 = outside.subnet("172.24.4.0/24")
    router = cloud.admin.make("router", external_gateway_info={"network_id": outside.id})["id"]

    def gateway():
        found = cloud.admin("GET", f"/routers/{router}").json()["router"]["external_gateway_info"]
        return of({"fixed_ips": found["external_fixed_ips"]})

    assert gateway().keys() == {v4}
    full = outside.subnet("fd01::/64")
    assert gateway().keys() == {v4, full}
    auto = outside.subnet("fd02::/64", **SLAAC)
    assert gateway().keys() == {v4, full, auto}
    outside.subnet("fd03::/64")
    assert gateway().keys() == {v4, full, auto}
    info = {"network_id": outside.id, "external_fixed_ips": [{"ip_address": "fd01::99"}]}
    cloud.admin("PUT", f"/routers/{router}", {"router": {"external_gateway_info": info}})
    assert gateway().keys() == {full, auto} and gateway()[full] == "fd01::99"
    assert cloud.member("DELETE", f"/subnets/{auto}").status_code == 204
    assert gateway() == {full: "fd01::99"}
    assert error_of(cloud.member("DELETE", f"/subnets/{full}"))[1] == "SubnetInUse"


def test_floating_ips_are_of_ipv4(cloud, net):
    outside = Net(cloud, **{"router:external": True})
    six = outside.subnet("fd01::/64")

    def ask(**attrs):
        body = {"floating_network_id": outside.id} | attrs
        return cloud.admin("POST", "/floatingips", {"floatingip": body})

    assert "does not contain any IPv4 subnet" in error_of(ask())[2]
    outside.subnet("172.24.4.0/24")
    for attrs in ({"subnet_id": six}, {"floating_ip_address": "fd01::44"}):
        assert error_of(ask(**attrs))[:2] == (400, "ExternalIpAddressExhausted")
    fip = ask().json()["floatingip"]
    assert ":" not in fip["floating_ip_address"]
    inside = net.subnet("fd05::/64", **SLAAC)
    port = net.port()
    router = cloud.member.make("router")["id"]
    add(net, router, subnet_id=inside)
    for attrs in ({}, {"fixed_ip_address": of(port)[inside]}):
        body = {"floatingip": {"port_id": port["id"]} | attrs}
        answer = cloud.admin("PUT", f"/floatingips/{fip['id']}", body)
        assert error_of(answer)[:2] == (400, "BadRequest")


def test_one_port_of_snat_has_all_prefixes_of_a_distributed_router(cloud, net):
    outside = Net(cloud, **{"router:external": True})
    outside.subnet("172.24.4.0/24")
    router = cloud.admin.make(
        "router",
        distributed=True,
        project_id="1" * 32,
        external_gateway_info={"network_id": outside.id},
    )["id"]
    v4, auto, full = (
        net.subnet("10.0.0.0/24"),
        net.subnet("fd01::/64", **SLAAC),
        net.subnet("fd03::/64"),
    )

    def snat():
        query = f"/ports?device_id={router}&device_owner=network:router_centralized_snat"
        return sorted(sorted(of(port)) for port in cloud.admin.list(query))

    for subnet in (auto, v4, full):
        assert add(net, router, subnet_id=subnet).status_code == 200
    assert snat() == sorted([sorted([auto, full]), [v4]])
    take(net, router, subnet_id=auto)
    assert snat() == sorted([[full], [v4]])
    take(net, router, subnet_id=full)
    assert snat() == [[v4]]
