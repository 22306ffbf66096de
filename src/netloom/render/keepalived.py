"""Configurations of keepalived and conntrackd, one of each for every replica of an HA router."""

from __future__ import annotations

import re

from netloom.model.family import of
from netloom.model.hoststate import ConnectionSync, Keepalived
from netloom.render import values

ADVERT_SECONDS = 0.2
"""Between two words of the active replica; the others wait for three, and up to one more by their priority."""

RT_PRIORITY = 20
"""Of the scheduler's real-time priorities: on a host with more work than processors a router that is well is not taken for dead."""

MOST_HELD = 4096
"""Addresses and routes of one router; quotas of projects are far below."""

MOST_PATH = 100
"""A unix socket's name has 107 bytes, one of them at the end and five for `/ctl`."""
_PATH = re.compile(r"(/[A-Za-z0-9._-]+)+")

RIVAL = "rival"
"""File that says whether a replica yields."""
_RIVAL = "rival_on_another_host"
"""Its name in the configuration: longer than that of any bridge."""

SYNC_PORT = 3780
"""UDP port on which conntrackd of the replicas speak."""


def keepalived_conf(item: Keepalived, links: str, home: str) -> str:
    """Return keepalived's configuration of one router. `links`: the folder with a file for each of its links, 1 where that is cut.
    `home`: the folder with its file `rival`, 1 where it yields to another host that is active.

    Adverts name one address alone, the sign of being active: a packet has no room for all. A device that is missing or down does not
    make the replica give up (`no_track`): all replicas have the same devices, and each would give up at the same time.
    """
    device = values.device(item.device)
    if len(item.addresses) > MOST_HELD or len(item.routes) > MOST_HELD:
        raise values.Unwritable(f"number of addresses and routes up to {MOST_HELD}", item.key)
    files = {values.device(name): f"{_path(links)}/{name}" for name in item.links}
    if item.shared:
        files[_RIVAL] = f"{_path(home)}/{RIVAL}"
    tracked = [
        line
        for name, file in files.items()
        for line in (
            f"vrrp_track_file {name} {{",
            f'  file "{file}"',
            "  weight -254",
            "}",
        )
    ]
    lines = [
        "global_defs {",
        "  vrrp_version 3",
        "  dynamic_interfaces",
        f"  vrrp_rt_priority {RT_PRIORITY}",
        "  vrrp_garp_master_repeat 1",
        "  vrrp_garp_master_delay 1",
        "  vrrp_garp_master_refresh 0",
        "}",
        *tracked,
        "vrrp_instance router {",
        "  state BACKUP",
        f"  interface {device}",
        f"  virtual_router_id {_from_one(item.vrid)}",
        f"  priority {_from_one(item.priority)}",
        "  nopreempt",
        f"  advert_int {ADVERT_SECONDS}",
        "  virtual_ipaddress {",
        f"    {_network(item.sign)} dev {device} no_track",
        "  }",
    ]
    if files:
        lines += ["  track_file {", *(f"    {name}" for name in files), "  }"]
    held = [f"{_network(a.cidr)} dev {values.device(a.device)} no_track" for a in item.addresses]
    ways = [
        f"{_network(route.destination)} "
        + (f"via {_address(route.gateway)} " if route.gateway else "")
        + f"dev {values.device(route.device)} "
        + ("" if route.gateway else "scope link ")
        + "no_track"
        for route in item.routes
    ]
    if held:
        lines += ["  virtual_ipaddress_excluded {", *(f"    {line}" for line in held), "  }"]
    if ways:
        lines += ["  virtual_routes {", *(f"    {line}" for line in ways), "  }"]
    return "\n".join([*lines, "}"]) + "\n"


def conntrackd_conf(item: ConnectionSync, home: str) -> str:
    """Return conntrackd's configuration; its lock and socket lie in `home`.

    What it hears it tells the kernel at once (no external cache): when a replica becomes active, nothing has to be done, and nobody to be
    told. A message that was lost is asked for again (FTFW).
    """
    device, address = values.device(item.device), values.ipv4(item.address)
    group = values.ipv4(f"225.0.0.{_from_one(item.number)}")
    home = _path(home)
    return f"""Sync {{
  Mode FTFW {{
    DisableExternalCache yes
    StartupResync yes
  }}
  Multicast {{
    IPv4_address {group}
    Group {SYNC_PORT}
    IPv4_interface {address}
    Interface {device}
    SndSocketBuffer 1249280
    RcvSocketBuffer 1249280
    Checksum on
  }}
}}
General {{
  Systemd off
  HashSize 8192
  HashLimit 131072
  LogFile no
  Syslog no
  LockFile {home}/lock
  UNIX {{
    Path {home}/ctl
  }}
  NetlinkBufferSize 2097152
  NetlinkBufferSizeMaxGrowth 8388608
  Filter From Kernelspace {{
    Protocol Accept {{
      TCP
      UDP
      ICMP
      SCTP
    }}
    Address Ignore {{
      IPv4_address 127.0.0.1
      IPv4_address 169.254.192.0/18
      IPv4_address {group}
    }}
  }}
}}
"""


def _from_one(number: int) -> int:
    if number < 1:
        raise values.Unwritable("number from 1 to 254", number)
    return values.number(number, 254)


def _network(cidr: str) -> str:
    return values.network(cidr, of(cidr))


def _address(address: str) -> str:
    return values.address(address, of(address))


def _path(path: str) -> str:
    if not _PATH.fullmatch(path) or ".." in path.split("/") or len(path) > MOST_PATH:
        raise values.Unwritable("short absolute path of plain names", path)
    return path
