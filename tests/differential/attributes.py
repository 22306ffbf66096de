"""Attributes of a request's object, drawn at random: mostly sensible, some wrong on purpose.

Addresses that requests name have a last octet below 64, pools begin at 64; second octets from 128 mark subnets whose
pools the server chooses (compare.py relies on it).
"""

from __future__ import annotations

from typing import Any

from tests.differential import pick
from tests.differential.operations import Twins
from tests.differential.pick import Draw


def maybe(draw: Draw, attributes: dict[str, Any], odds: int, **choices: Any) -> dict[str, Any]:
    """Add each of the choices (a strategy, or a value) with odds of one in `odds`."""
    for name, choice in choices.items():
        if draw(pick.integers(1, odds)) == 1:
            key = name.replace("__", ":")
            attributes[key] = draw(choice) if isinstance(choice, pick.Choice) else choice
    return attributes


names = pick.sampled_from(["", "a", "b", "web", "x" * 255])
bad_names = pick.sampled_from(["x" * 256, 5, None, ["a"], {"a": 1}])
switches = pick.sampled_from([True, False, "true", "False", 0, 1, "maybe", None])
texts = pick.one_of(names, names, names, bad_names)


def network_attributes(world: Twins, draw: Draw, updating: bool = False) -> dict[str, Any]:
    attributes = maybe(
        draw,
        {},
        5,
        name=texts,
        description=texts,
        admin_state_up=switches,
        mtu=pick.sampled_from([1300, 1450, 1500, 60, 0, -1, "1400", "x", None, 9000]),
        port_security_enabled=switches,
    )
    maybe(
        draw,
        attributes,
        9,
        shared=switches,
        router__external=switches,
        is_default=switches,
        foo="bar",
        status="DOWN",
        tags=["a"],
        availability_zone_hints=pick.sampled_from([[], ["nova"], ["moon"], "x"]),
        project_id=pick.sampled_from([identity.project for identity in world.identities]),
    )
    if draw(pick.integers(1, 5)) == 1:
        maybe(
            draw,
            attributes,
            2,
            provider__network_type=pick.sampled_from(
                ["vxlan", "flat", "vlan", "gre", "local", "moon", None]
            ),
            provider__physical_network=pick.sampled_from(
                ["physnet1", "physnet2", "extnet", "nowhere", None, 7]
            ),
            provider__segmentation_id=pick.sampled_from(
                [101, 102, 999, 0, 4095, 5000, "102", "x", None]
            ),
        )
    if updating and not attributes:
        attributes["name"] = draw(names)
    return attributes


cidrs = pick.sampled_from(
    [
        "10.0.0.0/24",
        "10.0.1.0/24",
        "10.0.0.0/16",
        "10.128.0.0/24",
        "10.129.0.0/29",
        "10.0.2.5/24",
        "10.1.0.0/24",
    ]
)
bad_cidrs = pick.sampled_from(
    [
        "10.0.0.0/33",
        "10.0.0.0",
        "x",
        None,
        5,
        "224.0.0.0/24",
        "127.0.0.0/8",
        "0.0.0.0/0",
        "10.0.0.0/31",
        "fd00::/64",
        "::/64",
        "fd00::/127",
        "ff02::/64",
    ]
)


def subnet_attributes(
    world: Twins, draw: Draw, network: Any, updating: bool = False
) -> dict[str, Any]:
    attributes: dict[str, Any] = {}
    base = "10.0.0"
    if not updating:
        cidr = draw(pick.one_of(cidrs, cidrs, cidrs, cidrs, bad_cidrs))
        attributes = {
            "network_id": network,
            "ip_version": draw(pick.sampled_from([4] * 9 + [6, 5, "4", None])),
        }
        attributes["cidr"] = cidr
        base = ".".join(str(cidr).split(".")[:3])
        if draw(pick.integers(1, 25)) == 1:
            del attributes[draw(pick.sampled_from(sorted(attributes)))]
    maybe(
        draw,
        attributes,
        6,
        name=texts,
        description=texts,
        enable_dhcp=switches,
        gateway_ip=pick.sampled_from(
            [f"{base}.1", f"{base}.9", None, "192.0.2.1", f"{base}.0", "x", f"{base}.255", ""]
        ),
        dns_nameservers=pick.sampled_from(
            [
                [],
                ["8.8.8.8"],
                ["8.8.8.8", "1.1.1.1"],
                ["x"],
                ["8.8.8.8"] * 2,
                [f"1.1.1.{n}" for n in range(6)],
                "x",
            ]
        ),
        host_routes=pick.sampled_from(
            [
                [],
                [{"destination": "192.0.2.0/24", "nexthop": f"{base}.7"}],
                [{"destination": "192.0.2.0/24"}],
                [{"destination": "x", "nexthop": f"{base}.7"}],
                [{"destination": f"192.0.{n}.0/24", "nexthop": f"{base}.7"} for n in range(21)],
            ]
        ),
    )
    if (
        not updating
        and str(attributes.get("cidr")).split(".")[1:2] < ["128"]
        and draw(pick.integers(0, 9))
    ):
        attributes["allocation_pools"] = [
            {"start": f"{base}.64", "end": f"{base}.{draw(pick.sampled_from([65, 99]))}"}
        ]
    maybe(
        draw,
        attributes,
        14,
        allocation_pools=pick.sampled_from(
            [
                [],
                [{"start": f"{base}.70", "end": f"{base}.64"}],
                [{"start": "192.0.2.1", "end": "192.0.2.9"}],
                [
                    {"start": f"{base}.64", "end": f"{base}.80"},
                    {"start": f"{base}.75", "end": f"{base}.90"},
                ],
                [{"start": f"{base}.1", "end": f"{base}.99"}],
                "x",
            ]
        ),
        cidr=cidrs,
        ip_version=4,
        network_id=network,
        foo=1,
        tenant_id=world.identities[3].project,
    )
    return attributes or {"name": "s"}


def port_attributes(
    world: Twins, draw: Draw, network: Any, updating: bool = False
) -> dict[str, Any]:
    attributes: dict[str, Any] = {} if updating else {"network_id": network}
    subnet = world.some(draw, "subnet")
    group = world.some(draw, "security_group")
    addresses = pick.sampled_from(
        ["10.0.0.5", "10.0.0.6", "10.0.0.1", "10.0.0.0", "192.0.2.7", "x", "10.0.1.5"]
    )
    maybe(
        draw,
        attributes,
        6,
        name=texts,
        description=texts,
        admin_state_up=switches,
        device_id=pick.sampled_from(["", "vm1", "vm2"]),
        device_owner=pick.sampled_from(
            ["", "compute:nova", "me", "network:dhcp", "network:router_interface"]
        ),
        mac_address=pick.sampled_from(
            ["fa:16:3e:11:22:33", "fa:16:3e:11:22:34", "00:00:00:00:00:00", "x", None]
        ),
        security_groups=pick.sampled_from([[], [group], [group, group], "x", None]),
        port_security_enabled=switches,
        fixed_ips=pick.sampled_from(
            [
                [],
                [{"subnet_id": subnet}],
                [{"ip_address": draw(addresses)}],
                [{"subnet_id": subnet, "ip_address": draw(addresses)}],
                [{"ip_address": "10.0.0.5"}, {"ip_address": "10.0.0.5"}],
                [{"foo": 1}],
                [{}],
            ]
        ),
        allowed_address_pairs=pick.sampled_from(
            [
                [],
                [{"ip_address": "10.0.0.40"}],
                [{"ip_address": "10.0.0.0/28", "mac_address": "fa:16:3e:aa:bb:cc"}],
                [{"ip_address": "10.0.0.40"}] * 2,
                [{"mac_address": "fa:16:3e:aa:bb:cc"}],
                [{"ip_address": "x"}],
                [{"ip_address": f"10.0.0.{n}"} for n in range(1, 12)],
            ]
        ),
    )
    maybe(
        draw,
        attributes,
        14,
        binding__host_id=pick.sampled_from(["node1", "nowhere", ""]),
        binding__profile=pick.sampled_from([{}, {"a": 1}, "x"]),
        binding__vnic_type=pick.sampled_from(["normal", "moon"]),
        extra_dhcp_opts=pick.sampled_from(
            [[{"opt_name": "mtu", "opt_value": "1300"}], [{"opt_name": "x"}], "x"]
        ),
        tags=["blue"],
        network_id=network,
        foo=1,
        project_id=pick.sampled_from([identity.project for identity in world.identities]),
    )
    if not updating and draw(pick.integers(1, 40)) == 1:
        del attributes["network_id"]
    return attributes or {"name": "p"}


def router_attributes(world: Twins, draw: Draw) -> dict[str, Any]:
    attributes = maybe(draw, {}, 3, name=texts, admin_state_up=switches, description=texts)
    network, subnet = world.some(draw, "network"), world.some(draw, "subnet")
    maybe(
        draw,
        attributes,
        6,
        external_gateway_info=pick.sampled_from(
            [
                None,
                {},
                {"network_id": network},
                {"network_id": network, "enable_snat": False},
                {"network_id": network, "external_fixed_ips": [{"subnet_id": subnet}]},
                {"network_id": network, "external_fixed_ips": [{"ip_address": "10.0.0.33"}]},
                {"enable_snat": True},
                "x",
            ]
        ),
        routes=pick.sampled_from(
            [
                [],
                [{"destination": "192.0.2.0/24", "nexthop": "10.0.0.9"}],
                [{"destination": "192.0.2.0/24", "nexthop": "192.0.2.9"}],
                [{"destination": "x", "nexthop": "10.0.0.9"}],
                [{"destination": "192.0.2.0/24", "nexthop": "10.0.0.9"}] * 2,
            ]
        ),
        ha=pick.sampled_from([False, "false", None, "x"]),
        distributed=pick.sampled_from([False, "x"]),
        foo=1,
    )
    return attributes


def floatingip_attributes(world: Twins, draw: Draw, updating: bool = False) -> dict[str, Any]:
    attributes: dict[str, Any] = {}
    if not updating:
        attributes["floating_network_id"] = world.likely(draw, "network", "router:external", True)
    maybe(
        draw,
        attributes,
        2,
        port_id=pick.sampled_from([world.some(draw, "port"), world.some(draw, "port"), None]),
    )
    return maybe(
        draw,
        attributes,
        7,
        description=texts,
        fixed_ip_address=pick.sampled_from(["10.0.0.5", "x", None]),
        floating_ip_address=pick.sampled_from(
            ["172.24.4.40", "172.24.4.1", "10.0.0.40", "192.0.2.1", "x", None]
        ),
        subnet_id=world.some(draw, "subnet"),
        floating_network_id=world.some(draw, "network"),
        status="ACTIVE",
        foo=1,
    )


def rule_attributes(world: Twins, draw: Draw) -> dict[str, Any]:
    attributes: dict[str, Any] = {
        "security_group_id": world.some(draw, "security_group"),
        "direction": draw(pick.sampled_from(["ingress", "ingress", "ingress", "egress", "moon"])),
    }
    maybe(
        draw,
        attributes,
        2,
        protocol=pick.sampled_from(
            [
                "tcp",
                "udp",
                "icmp",
                "6",
                6,
                0,
                "any",
                "moon",
                300,
                "icmpv6",
                "ipv6-icmp",
                "vrrp",
                None,
                "TCP",
                "sctp",
                "udplite",
                "dccp",
                "1",
                "17",
                "255",
                "256",
                "-1",
                "esp",
                "ipv6-frag",
                "igmp",
                "",
                "0",
            ]
        ),
        port_range_min=pick.sampled_from([22, 80, 0, 65536, "22", "x", None, 8, -1, 255, 256]),
        port_range_max=pick.sampled_from([22, 80, 443, "80", None, 0, 8, 65535, 65536]),
    )
    return maybe(
        draw,
        attributes,
        5,
        ethertype=pick.sampled_from(["IPv4", "IPv6", "ipv4", "x", 4]),
        remote_ip_prefix=pick.sampled_from(
            [
                "10.0.0.0/24",
                "10.0.0.7/24",
                "10.0.0.7",
                "fd00::/64",
                "x",
                None,
                "",
                "0.0.0.0/0",
                "::/0",
                5,
            ]
        ),
        remote_group_id=world.some(draw, "security_group"),
        description=texts,
        foo=1,
    )
