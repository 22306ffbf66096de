"""What clients do with IPv6: prefixes come and go under ports, routers and gateways."""

from __future__ import annotations

from typing import Any

from tests.differential import pick, steps
from tests.differential.operations import Twins
from tests.differential.pick import Draw

MODES: tuple[dict[str, str], ...] = (
    {},
    {"ipv6_ra_mode": "slaac", "ipv6_address_mode": "slaac"},
    {"ipv6_ra_mode": "slaac", "ipv6_address_mode": "slaac"},
    {"ipv6_ra_mode": "dhcpv6-stateless", "ipv6_address_mode": "dhcpv6-stateless"},
    {"ipv6_ra_mode": "dhcpv6-stateful", "ipv6_address_mode": "dhcpv6-stateful"},
    {"ipv6_address_mode": "slaac"},
    {"ipv6_ra_mode": "slaac"},
    {"ipv6_ra_mode": "slaac", "ipv6_address_mode": "dhcpv6-stateful"},
)


def _prefix(draw: Draw, number: int) -> dict[str, Any]:
    base = f"fd00:{number:x}"
    more = steps.some(
        draw,
        {},
        {},
        {},
        {"gateway_ip": None},
        {"gateway_ip": "fe80::1"},
        {"gateway_ip": f"{base}::1"},
        {"enable_dhcp": False},
        {"cidr": f"{base}::/80"},
        {"service_types": ["compute:nova"]},
        {"allocation_pools": [{"start": f"{base}::10", "end": f"{base}::20"}]},
    )
    modes = draw(pick.sampled_from(MODES))
    return {"ip_version": 6, "cidr": f"{base}::/64"} | modes | more


def prefixes_come_and_go(world: Twins, draw: Draw) -> steps.Story:
    """A network of both families: ports, a router, and prefixes that are added and taken away."""
    admin, member, _, other, *_ = world.identities
    network = yield steps.make(member, "network", name="six")
    v4 = yield steps.make(member, "subnet", network_id=network, ip_version=4, cidr="10.6.0.0/24")
    subnets: list[Any] = [v4]
    ports: list[Any] = []
    router = yield steps.make(member, "router", name="r6")
    for number in range(draw(pick.integers(5, 12))):
        step = draw(pick.integers(0, 9))
        subnet = draw(pick.sampled_from(subnets))
        if step <= 2:
            made = yield steps.make(
                member, "subnet", network_id=network, **_prefix(draw, number + 1)
            )
            subnets += [made] if made else []
        elif step <= 4:
            asked = steps.some(
                draw,
                {},
                {"fixed_ips": []},
                {"fixed_ips": [{"subnet_id": subnet}]},
                {"fixed_ips": [{"subnet_id": subnet}, {"subnet_id": v4}]},
                {"fixed_ips": [{"ip_address": f"fd00:{number:x}::5"}]},
            )
            made = yield steps.make(
                steps.some(draw, member, member, other), "port", network_id=network, **asked
            )
            ports += [made] if made else []
        elif step == 5 and ports:
            change = steps.some(
                draw,
                {"fixed_ips": []},
                {"fixed_ips": [{"subnet_id": subnet}]},
                {"mac_address": f"fa:16:3e:66:00:{number:02x}"},
                {"mac_address": f"fa:16:3e:66:01:{number:02x}", "fixed_ips": [{"subnet_id": v4}]},
            )
            yield steps.change(admin, draw(pick.sampled_from(ports)), **change)
        elif step == 6:
            yield steps.act(member, router, "add_router_interface", {"subnet_id": subnet})
        elif step == 7:
            yield steps.act(member, router, "remove_router_interface", {"subnet_id": subnet})
        elif step == 8:
            yield steps.delete(member, subnet)
        elif ports:
            yield steps.show(member, draw(pick.sampled_from(ports)))
