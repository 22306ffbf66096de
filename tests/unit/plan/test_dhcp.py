"""What DHCP says, for every combination of what a network's owner can set. The right answers are those of Neutron's agent."""

from __future__ import annotations

import ipaddress
import itertools

import pytest

from netloom.model.dhcp_options import CODES, DhcpValue
from netloom.model.hoststate import Dnsmasq, Refusal
from netloom.model.networking import DhcpOption, Route
from netloom.plan import plan
from netloom.render.dnsmasq import dnsmasq_hosts, dnsmasq_opts
from tests.support import worlds

METADATA = "169.254.169.254/32"


def routes_of(data: bytes) -> list[tuple[str, str]]:
    """Option 121 as (destination, next hop)."""
    found: list[tuple[str, str]] = []
    while data:
        length = data[0]
        significant = (length + 7) // 8
        network = data[1 : 1 + significant].ljust(4, b"\0")
        hop = data[1 + significant : 5 + significant]
        found.append(
            (f"{ipaddress.IPv4Address(network)}/{length}", str(ipaddress.IPv4Address(hop)))
        )
        data = data[5 + significant :]
    return found


def world(*subnets: dict[str, object]) -> worlds.World:
    """One network, an instance in the first subnet, and the DHCP port in all of those that DHCP serves."""
    made = worlds.World()
    made.host("compute1")
    made.network("net-a")
    addresses: list[tuple[str, str]] = []
    for number, more in enumerate(subnets):
        cidr = str(more.pop("cidr", f"10.{number}.0.0/24"))
        made.subnet(f"sub-{number}", "net-a", cidr, dhcp_port=False, **more)
        if more.get("enable_dhcp", True):
            addresses.append((f"sub-{number}", str(ipaddress.IPv4Network(cidr)[2])))
    made.port(
        "dhcp", "net-a", addresses, device_owner="network:dhcp", device_id="dhcpx-net-a",
        port_security_enabled=False,
    )  # fmt: skip
    port = made.port("port1", "net-a", [("sub-0", "10.0.0.11")])
    made.server("vm1", "compute1", port)
    return made


def server_of(made: worlds.World) -> Dnsmasq:
    (server,) = plan(made.view("compute1")).each(Dnsmasq)
    return server


def refused(made: worlds.World) -> list[tuple[tuple[str, ...], str, str]]:
    return [
        (tuple(map(str, r.origin)), r.state, r.detail)
        for r in plan(made.view("compute1")).each(Refusal)
    ]


def options_of(made: worlds.World, subnet: str = "sub-0") -> dict[int, DhcpValue]:
    (served,) = [s for s in server_of(made).ranges if s.subnet_id == subnet]
    return {option.code: option for option in served.options}


GATEWAYS = [None, "10.0.0.1", "10.0.0.254", "192.0.2.1"]
ROUTES = [
    (),
    (("10.99.0.0/16", "10.0.0.9"),),
    (("0.0.0.0/0", "10.0.0.8"),),
    (("10.99.0.0/16", "10.0.0.9"), ("0.0.0.0/0", "10.0.0.8"), ("169.254.169.254/32", "10.0.0.7")),
]
SERVERS = [(), ("0.0.0.0",), ("9.9.9.9", "1.1.1.1")]
OTHERS = [[], [{"cidr": "10.1.0.0/24"}], [{"cidr": "10.2.0.0/24", "enable_dhcp": False}]]


@pytest.mark.parametrize("others", OTHERS, ids=["alone", "beside one", "beside one without DHCP"])
@pytest.mark.parametrize(
    ("gateway", "routes", "servers"), list(itertools.product(GATEWAYS, ROUTES, SERVERS))
)
def test_174_every_combination(gateway, routes, servers, others):
    made = world(
        {
            "gateway_ip": gateway,
            "host_routes": tuple(Route(*pair) for pair in routes),
            "dns_nameservers": servers,
        },
        *[dict(other) for other in others],
    )
    said = options_of(made)
    default = gateway or next((hop for to, hop in routes if to == "0.0.0.0/0"), None)
    # Empty where there is none: dnsmasq would name itself else.
    assert said[3].addresses == ((default,) if default else ())
    announced = tuple(server for server in servers if server != "0.0.0.0")
    assert (said[6].addresses if 6 in said else ()) == announced
    assert said[15].text == "openstacklocal"
    expected = [(other["cidr"], "0.0.0.0") for other in others]
    expected += [pair for pair in routes if pair[0] != "0.0.0.0/0"]
    expected.append((METADATA, "10.0.0.2"))
    expected += [("0.0.0.0/0", default)] if default else []
    assert routes_of(said[121].data) == expected
    assert said[249].data == said[121].data
    assert refused(made) == []


def test_every_subnet_says_the_ways_to_the_others():
    made = world({}, {}, {})
    for number in range(3):
        ways = routes_of(options_of(made, f"sub-{number}")[121].data)
        others = [f"10.{other}.0.0/24" for other in range(3) if other != number]
        assert [to for to, hop in ways if hop == "0.0.0.0"] == others


def test_more_subnets_than_fit_in_one_option():
    """The gateway, metadata and host routes go first; what is left out is said of the subnet."""
    route = Route("192.168.0.0/16", "10.0.0.9")
    made = world({"host_routes": (route,)}, *[{"cidr": f"10.1.{n}.0/24"} for n in range(60)])
    data = options_of(made)[121].data
    ways = routes_of(data)
    assert len(data) <= 255
    assert ways[-3:] == [("192.168.0.0/16", "10.0.0.9"), (METADATA, "10.0.0.2"), ("0.0.0.0/0", "10.0.0.1")]  # fmt: skip
    assert len(ways) > 25
    left_out = [detail for origin, _, detail in refused(made) if origin == ("subnet/sub-0",)]
    assert left_out == [
        f"{60 - len(ways) + 3} routes to the network's other subnets of subnet sub-0 are left out:"
        " DHCP option 121 has 255 bytes"
    ]
    assert max(map(len, dnsmasq_opts(server_of(made)).encode().split(b"\n"))) < 1000


def test_a_network_says_what_of_its_dhcp_is_missing():
    made = world({}, {})
    assert refused(made) == []
    made.change("ports", "dhcp", fixed_ips=made.tables["ports"]["dhcp"].fixed_ips[:1])
    ((origin, state, detail),) = refused(made)
    assert origin == ("network/net-a", "subnet/sub-1")
    assert state == "error"
    assert "no DHCP in subnet sub-1 (10.1.0.0/24)" in detail
    del made.tables["ports"]["dhcp"]
    ((origin, state, detail),) = refused(made)
    assert (origin, state) == (("network/net-a",), "error")
    made.change("subnets", "sub-0", enable_dhcp=False)
    made.change("subnets", "sub-1", enable_dhcp=False)
    assert refused(made) == []


def test_a_port_without_a_host_name_of_its_own_has_one_of_its_address():
    made = world({})
    for name, told in (
        ("web", "web"),
        ("10.0.0.12", "10-0-0-12"),
        ("ignore", "ignore"),
        ("", "host-10-0-0-11"),
        ("a b", "host-10-0-0-11"),
        ("a\nfa:16:3e:00:00:09,10.0.0.12", "host-10-0-0-11"),
        ("ü", "host-10-0-0-11"),
        ("x" * 64, "host-10-0-0-11"),
    ):
        made.change("servers", "vm1", hostname=name)
        assert dnsmasq_hosts(server_of(made)) == (
            f"{made.tables['ports']['port1'].mac_address},tag:!declined,10.0.0.11,{told}.openstacklocal\n"
        )


def test_a_server_that_does_not_have_the_port_does_not_name_it():
    """`device_id` is what a user wrote."""
    made = world({})
    made.change("servers", "vm1", hostname="victim")
    made.port("liar", "net-a", [("sub-0", "10.0.0.12")], host="compute1", device_id="vm1")
    hosts = dnsmasq_hosts(server_of(made)).splitlines()
    assert [line.rpartition(",")[2].partition(".")[0] for line in hosts] == [
        "host-10-0-0-12",
        "victim",
    ]


def test_extra_options_as_neutron_reads_them():
    made = world({})
    given = [
        ("bootfile-name", "pxelinux.0", 4),
        ("tag:ipxe,67", "http://192.0.2.9/boot.ipxe", 4),
        ("server-ip-address", "192.0.2.10", 4),
        ("150", "192.0.2.11", 4),
        ("MTU", "1400", 4),
        ("client-id", "anything", 4),
        ("bootfile-name", "v6", 6),
    ]
    made.change("ports", "port1", extra_dhcp_opts=tuple(DhcpOption(*each) for each in given))
    (lease,) = server_of(made).leases
    assert lease.options == (
        DhcpValue(code=26, data=b"\x05\x78"),
        DhcpValue(code=67, text="pxelinux.0"),
        DhcpValue(code=67, tags=("ipxe",), text="http://192.0.2.9/boot.ipxe"),
        DhcpValue(code=150, addresses=("192.0.2.11",)),
        DhcpValue(code=255, addresses=("192.0.2.10",)),
    )
    assert refused(made) == []
    own = dnsmasq_hosts(server_of(made)).split(",")
    assert [word for word in own if word.startswith("set:own")] == [
        "set:own-26", "set:own-67", "set:own-150", "set:own-255",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("nonsense", "x"),
        ("0", "x"),
        ("256", "x"),
        ("²", "x"),
        ("54", "192.0.2.1"),
        ("lease-time", "5"),
        ("router", "not an address"),
        ("dns-server", ",".join(["192.0.2.1"] * 64)),
        ("mtu", "70000"),
        ("mtu", "-1"),
        ("T1", "soon"),
        ("bootfile-name", "evil\ndhcp-script=/bin/sh"),
        ("bootfile-name", "ü" * 200),
        ("bootfile-name", "\ud800"),
        ("bootfile-name", '"'),
        ("domain-search", "a..b"),
        ("tag:x y,67", "x"),
        ("set:own-3,67", "x"),
    ],
)
def test_an_option_that_cannot_be_sent_is_said_of_its_port_and_harms_nothing(name, value):
    made = world({})
    good = DhcpOption("bootfile-name", "good", 4)
    # The API's own words come first; `name` may be the same.
    made.change("ports", "port1", extra_dhcp_opts=(good, DhcpOption(name, value, 4)))
    (lease,) = server_of(made).leases
    assert lease.options == (DhcpValue(code=67, text="good"),)
    ((origin, state, detail),) = refused(made)
    assert (origin, state) == (("port/port1",), "pending")
    assert name[:20] in detail or repr(name)[1:10] in detail
    opts = dnsmasq_opts(server_of(made))
    assert all(line.startswith("tag:") for line in opts.splitlines())


def test_the_table_of_options_is_that_of_dnsmasq():
    import shutil
    import subprocess

    if shutil.which("dnsmasq") is None:
        pytest.skip("needs dnsmasq")
    text = subprocess.run(
        ["dnsmasq", "--help", "dhcp"], capture_output=True, text=True, check=False
    ).stdout
    known = {
        name.lower(): int(code)
        for code, name in (line.split() for line in text.splitlines() if line[:3].strip().isdigit())
    }
    assert known == CODES
