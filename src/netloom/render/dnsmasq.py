"""A DHCP server's files as dnsmasq reads them."""

from __future__ import annotations

import ipaddress

from netloom.model.hoststate import Dnsmasq


def dnsmasq_conf(server: Dnsmasq, directory: str) -> str:
    """Dnsmasq's configuration; its `hosts` and `opts` lie in `directory` and are read again on SIGHUP."""
    lines = [
        "port=0",
        f"interface={server.device}",
        "except-interface=lo",
        "bind-interfaces",
        "no-hosts",
        "no-resolv",
        "no-ping",
        "leasefile-ro",
        "dhcp-authoritative",
        f"domain={server.domain}",
        f"dhcp-hostsfile={directory}/hosts",
        f"dhcp-optsfile={directory}/opts",
        f"pid-file={directory}/pid",
    ]
    for served in server.ranges:
        network = ipaddress.IPv4Network(served.cidr)
        lines.append(
            f"dhcp-range=set:subnet-{served.subnet_id},{network.network_address},static,"
            f"{network.netmask},{server.lease_seconds}s"
        )
    return "\n".join(lines) + "\n"


def dnsmasq_hosts(server: Dnsmasq) -> str:
    """The static leases, one a line. A port with options of its own gets a tag for itself and each of them."""
    lines: list[str] = []
    for lease in server.leases:
        own = "".join(f"set:own-{option}," for option, _ in lease.options)
        tag = f"set:port-{lease.port_id}," if lease.options else ""
        lines.append(f"{lease.mac},{tag}{own}{lease.ip},{lease.hostname}")
    return "".join(line + "\n" for line in lines)


def dnsmasq_opts(server: Dnsmasq) -> str:
    """The options of subnets and ports. A port's own option replaces the subnet's of that number."""
    overridden = {option for lease in server.leases for option, _ in lease.options}
    lines: list[str] = []
    for served in server.ranges:
        for number, value in served.options:
            unless = f"tag:!own-{number}," if str(number) in overridden else ""
            lines.append(
                f"tag:subnet-{served.subnet_id},{unless}{number}{',' + value if value else ''}"
            )
    for lease in server.leases:
        for option, value in lease.options:
            lines.append(f"tag:port-{lease.port_id},{option}{',' + value if value else ''}")
    return "".join(line + "\n" for line in lines)
