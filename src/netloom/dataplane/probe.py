"""What this host can do, found by looking; what it lacks, as one line that says what to install."""

from __future__ import annotations

import contextlib
import os
import re
import shutil
from pathlib import Path

from netloom.dataplane.linux import netns
from netloom.dataplane.linux.netlink import holder_of
from netloom.dataplane.process import ApplyError, run
from netloom.model.errors import UserError

TOOLS = {
    "ovs-ofctl": "openvswitch-switch",
    "nft": "nftables",
    "conntrack": "conntrack",
    "dnsmasq": "dnsmasq-base",
}
"""Tool → the Debian package that brings it."""
CONTAINER_TOOLS = {"crun": "crun", "mke2fs": "e2fsprogs", "e2fsck": "e2fsprogs"}


def check_root() -> None:
    """Raise UserError unless the process may do what an agent does."""
    if os.geteuid() != 0:
        raise UserError("the agent needs root: it makes bridges, namespaces and instances")


def check_tools(containers: bool, backend: str = "ovs") -> None:
    """Raise UserError where packages are missing, naming all of them."""
    wanted = TOOLS | (CONTAINER_TOOLS if containers else {})
    if backend == "linuxbridge":
        wanted = {tool: package for tool, package in wanted.items() if tool != "ovs-ofctl"}
        wanted |= {"ip": "iproute2", "bridge": "iproute2"}
    # A user's PATH may lack the administrator's folders.
    path = os.environ.get("PATH", "") + ":/usr/sbin:/sbin"
    missing = sorted(
        {package for tool, package in wanted.items() if not shutil.which(tool, path=path)}
    )
    if missing:
        raise UserError(f"missing on this host: apt-get install {' '.join(missing)}")


def datapath_type() -> str:
    """`system` where the kernel has Open vSwitch's module, else `netdev`, the datapath in userspace."""
    if Path("/sys/module/openvswitch").is_dir():
        return "system"
    if not shutil.which("modprobe"):
        return "netdev"
    try:
        run(["modprobe", "openvswitch"], timeout=10)
    except ApplyError:
        return "netdev"
    return "system" if Path("/sys/module/openvswitch").is_dir() else "netdev"


def check_bridges() -> None:
    """Raise UserError where this kernel cannot give the packets of bridges to its filter of IP packets."""
    calls = Path("/proc/sys/net/bridge/bridge-nf-call-iptables")
    if not calls.exists():
        with contextlib.suppress(ApplyError):
            run(["modprobe", "br_netfilter"], timeout=10)
    if not calls.exists():
        raise UserError(
            "security groups on Linux bridges need the kernel's module br_netfilter: load it, or use Open vSwitch"
        )


def bridge_capabilities() -> dict[str, str]:
    """Which devices this kernel makes, tried in a namespace of this moment: `yes` or `no` by name."""
    found: dict[str, str] = {}
    for name, device in (
        ("vxlan_devices", "type vxlan id 1 dstport 4789 local 127.0.0.1"),
        ("vlan_devices", "link lo type vlan id 1"),
    ):
        with netns.scratch():
            try:
                run(["ip", "link", "add", "probe", *device.split()], timeout=10)
                found[name] = "yes"
            except ApplyError:
                found[name] = "no"
    return found


def check_tun() -> None:
    """Raise UserError where the userspace datapath could not make a device."""
    try:
        os.close(os.open("/dev/net/tun", os.O_RDWR))
    except OSError as error:
        raise UserError(
            f"/dev/net/tun cannot be opened ({error.strerror}): the userspace datapath of Open vSwitch needs"
            " it; load the module tun, or let this container or machine use the device"
        ) from error


def check_tunnel_end(address: str, userspace: bool) -> None:
    """Raise UserError where tunnels from this address could reach nobody, silently.

    The userspace datapath routes its tunnels itself, and only out of one of its own bridges (a `tun` device).
    """
    found = holder_of(address)
    if found is None:
        raise UserError(f"[agent] tunnel_ip: no interface of this host has the address {address}")
    device, kind = found
    if userspace and kind != "tun":
        raise UserError(
            f"[agent] tunnel_ip: without the kernel's openvswitch module tunnels leave only by a bridge of Open"
            f" vSwitch: put {device} into one and move {address} onto it (docs/operators.md, «A host»)"
        )


def versions() -> dict[str, str]:
    """Versions of the tools, for the host's facts."""
    found: dict[str, str] = {}
    for name, command in (
        ("openvswitch", ["ovs-vswitchd", "--version"]),
        ("nftables", ["nft", "--version"]),
        ("dnsmasq", ["dnsmasq", "--version"]),
    ):
        try:
            match = re.search(r"\d+\.\d+(\.\d+)?", run(command, timeout=5))
        except ApplyError:
            continue
        if match:
            found[name] = match.group()
    return found
