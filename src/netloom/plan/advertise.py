"""Router advertisements: which IPv6 subnets a router says are on its links, and how hosts there get their addresses."""

from __future__ import annotations

from collections.abc import Iterator

from netloom.model.advertising import AdvertisedLink, AdvertisedPrefix, Advertiser
from netloom.model.family import V6
from netloom.model.networking import Port, Router
from netloom.plan.index import Index, device_of, origin


def advertiser(index: Index, router: Router, ports: list[Port]) -> Iterator[Advertiser]:
    """What sends the advertisements of a router by its interfaces `ports`; nothing where no subnet wants any.

    A subnet without `ipv6_ra_mode` has its advertisements of somebody else, or none.
    """
    links: list[AdvertisedLink] = []
    speaking: list[Port] = []
    for port in ports:
        network = index.network(port.network_id)
        prefixes = tuple(_prefixes(index, port))
        if network is not None and prefixes and index.is_up(port):
            links.append(AdvertisedLink(device=device_of(port), mtu=network.mtu, prefixes=prefixes))
            speaking.append(port)
    if links and router.admin_state_up:
        yield Advertiser(
            namespace=router.namespace,
            router_id=router.id,
            links=tuple(links),
            origin=origin(router, *speaking),
            aspect="l3",
        )


def _prefixes(index: Index, port: Port) -> Iterator[AdvertisedPrefix]:
    for fixed in port.fixed_ips:
        subnet = index.row("subnets", fixed.subnet_id)
        if subnet is not None and subnet.ip_version == V6.version and subnet.ipv6_ra_mode:
            yield AdvertisedPrefix(
                cidr=subnet.cidr,
                mode=subnet.ipv6_ra_mode,
                dns=tuple(s for s in subnet.dns_nameservers if V6.has(s) and s != V6.any_address),
            )
