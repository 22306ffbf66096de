"""The kernel settings that namespaces of ours have, whatever the machine's own settings are.

A new namespace may take over what the machine is set to (`net.core.devconf_inherit_init_net`), as forwarding on a host
of Docker. So each setting that decides where a packet goes, who answers for an address, or who is believed, has one
value here. Meaning of each: Documentation/networking/ip-sysctl.rst of the kernel. The kernel combines the values of
`all` and of the device, by OR, AND or the greater one, depending on the setting: so all three places are set.
"""

from __future__ import annotations

from collections.abc import Iterable

from msgspec import Struct

FORWARD = "ipv4.ip_forward"
NO_IPV6 = "ipv6.conf.all.disable_ipv6"
SCOPES = ("all", "default", "lo")
"""Places of the settings of devices that every namespace has: `default` is for those that come later."""

_IPV4 = {
    "accept_local": "0",
    "accept_redirects": "0",
    "accept_source_route": "0",
    "arp_accept": "0",
    "arp_announce": "2",
    "arp_filter": "0",
    "arp_ignore": "1",
    "arp_notify": "0",
    "bc_forwarding": "0",
    "bootp_relay": "0",
    "disable_policy": "0",
    "disable_xfrm": "0",
    "drop_gratuitous_arp": "0",
    "ignore_routes_with_linkdown": "0",
    "log_martians": "0",
    "medium_id": "0",
    "promote_secondaries": "0",
    "proxy_arp": "0",
    "proxy_arp_pvlan": "0",
    "route_localnet": "0",
    "rp_filter": "0",
    "secure_redirects": "0",
    "send_redirects": "0",
    "shared_media": "0",
    "src_valid_mark": "0",
}
_IPV6 = {
    "accept_ra": "0",
    "accept_redirects": "0",
    "accept_source_route": "-1",
    "autoconf": "0",
    "disable_ipv6": "1",
    "force_forwarding": "0",
    "forwarding": "0",
    "proxy_ndp": "0",
}
_WHOLE = {
    "ipv4.icmp_echo_ignore_all": "0",
    "ipv4.icmp_echo_ignore_broadcasts": "1",
    "ipv4.ip_nonlocal_bind": "0",
    "bridge.bridge-nf-call-arptables": "0",
    "bridge.bridge-nf-call-ip6tables": "0",
    "bridge.bridge-nf-call-iptables": "0",
}
_OF_A_GUEST = {"arp_announce": "0", "arp_ignore": "0"}


class Profile(Struct, frozen=True):
    """Settings of one kind of namespace: of each device by family, and of the namespace as a whole."""

    ipv4: dict[str, str]
    ipv6: dict[str, str]
    whole: dict[str, str]


SERVICE = Profile(_IPV4, _IPV6, _WHOLE)
"""Routers and DHCP where nothing of IPv6 is served: an ARP answer only on the device that has the address."""
SERVICE6 = Profile(
    _IPV4,
    _IPV6 | {"disable_ipv6": "0", "accept_dad": "0", "dad_transmits": "0", "addr_gen_mode": "0"},
    _WHOLE,
)
"""Routers and DHCP where IPv6 is served. Addresses are the server's to give: nobody is asked whether he has them, and none waits
for an answer. A link-local address is made of the MAC address, as flows know it."""
INSTANCE = Profile(
    _IPV4 | _OF_A_GUEST, _IPV6 | {"accept_ra": "1", "autoconf": "1", "disable_ipv6": "0"}, _WHOLE
)
"""An instance's own, when it is made: a machine with one leg in each network. Later its own root decides."""
MACHINE = Profile(_IPV4 | _OF_A_GUEST, _IPV6 | {"disable_ipv6": "0"}, _WHOLE)
"""A host of a lab: a server that learns nothing from the wire."""


def service(ipv6: bool) -> Profile:
    """The settings of a router's or DHCP's namespace."""
    return SERVICE6 if ipv6 else SERVICE


def of_devices(profile: Profile, devices: Iterable[str], forward: str) -> dict[str, str]:
    """Settings of these devices (or SCOPES) below `net`, as `ipv4.conf.eth0.rp_filter` → value."""
    found: dict[str, str] = {}
    for device in devices:
        name = device.replace(".", "/")  # as sysctl(8) writes a dot within a name
        # The kernel keeps `all` and ip_forward alike.
        found[f"ipv4.conf.{name}.forwarding"] = forward
        found |= {f"ipv4.conf.{name}.{key}": value for key, value in profile.ipv4.items()}
        found |= {f"ipv6.conf.{name}.{key}": value for key, value in profile.ipv6.items()}
        if profile is SERVICE6:
            found[f"ipv6.conf.{name}.forwarding"] = forward
    return found


def settings(profile: Profile, forward: str = "0", devices: Iterable[str] = ()) -> dict[str, str]:
    """All settings of a namespace; ip_forward first, as the kernel changes others with it."""
    where = (*SCOPES, *devices)
    return {FORWARD: forward} | profile.whole | of_devices(profile, where, forward)
