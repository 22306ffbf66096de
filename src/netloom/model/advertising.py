"""What sends the advertisements of a router, as an object of a host."""

from __future__ import annotations

from msgspec import Struct

from netloom.model.hoststate import HostObject, Key


class AdvertisedPrefix(Struct, frozen=True, kw_only=True):
    """An IPv6 subnet in a router's advertisements, as its `mode` says where hosts have their addresses and all else from.

    `slaac`: they make addresses of the prefix. `dhcpv6-stateless`: so they do, and ask DHCP for all else. `dhcpv6-stateful`: they
    ask DHCP for addresses, too. `dns`: servers that the router names.
    """

    cidr: str
    mode: str
    dns: tuple[str, ...] = ()


class AdvertisedLink(Struct, frozen=True, kw_only=True):
    """A device of a router by which it advertises itself."""

    device: str
    mtu: int
    prefixes: tuple[AdvertisedPrefix, ...]


class Advertiser(HostObject, frozen=True, kw_only=True):
    """The program that sends a router's advertisements (RFC 4861)."""

    namespace: str
    router_id: str
    links: tuple[AdvertisedLink, ...]

    @property
    def key(self) -> Key:
        return ("advertiser", self.namespace)
