"""Linux bridges, the devices in them, and the MAC addresses that these lead to.

Bridges and devices of ours have the alias `netloom:<fingerprint>`. A card of this host, and a device that somebody else
plugs, has none: it is ours to look after as long as it is in one of our bridges.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

from netloom.dataplane.linux.netlink import link_names
from netloom.dataplane.linux.netns import write_sysctl
from netloom.dataplane.mark import broken, fingerprint
from netloom.dataplane.process import ApplyError, run
from netloom.model.filtering import EVERYBODY, FdbEntry
from netloom.model.hoststate import Bridge, HostObject, Interface, Key

ALIAS = "netloom:"
VXLAN_PORT = "4789"
_BRIDGE = {
    "stp_state": 0,
    "mcast_snooping": 0,
    "forward_delay": 0,
    "nf_call_iptables": 1,
    "nf_call_ip6tables": 1,
    "nf_call_arptables": 0,
}
"""Options of our bridges. Multicast snooping would keep groups from those who never asked; the calls bring IP packets to `inet`."""

Links = Mapping[str, dict[str, Any]]


def links() -> Links:
    """Devices of this namespace by name, with all that `ip` says of them."""
    found = json.loads(run(["ip", "-d", "-j", "link", "show"]))
    return {item["ifname"]: item for item in found}


def _alias(link: dict[str, Any]) -> str | None:
    alias = link.get("ifalias") or ""
    return alias.removeprefix(ALIAS) if alias.startswith(ALIAS) else None


def peer_of(item: Interface) -> str:
    """The other end of a pair: a namespace's device, or for an instance `eni…`, until it is given to it."""
    return item.options.get("peer") or "eni" + item.name.removeprefix("tap")


def read(wanted: Mapping[Key, HostObject], there: Links) -> dict[Key, str]:
    """Our bridges and the devices in them → fingerprint, or why one is broken that is there."""
    found: dict[Key, str] = {}
    ours = {
        name
        for name, link in there.items()
        if _kind(link) == "bridge" and (_alias(link) is not None or ("bridge", name) in wanted)
    }
    for name in ours:
        item = wanted.get(("bridge", name))
        odd = _odd_bridge(there[name]) if isinstance(item, Bridge) else ""
        found["bridge", name] = (
            broken(odd) if odd else _alias(there[name]) or broken("its mark was gone")
        )
    for name, link in there.items():
        if link.get("master") in ours:
            key = ("interface", link["master"], name)
            item = wanted.get(key)
            found[key] = "" if not isinstance(item, Interface) else mark_of(item, link)
    for key, item in wanted.items():
        # A device of ours that is in no bridge (any more) carries nothing.
        if not isinstance(item, Interface) or key in found or item.expected:
            continue
        if _alias(there.get(item.name, {})) is not None:
            found[key] = broken(f"device {item.name} was in no bridge of ours")
    return found


def mark_of(item: Interface, link: dict[str, Any]) -> str:
    """The mark of a device that is in its bridge."""
    wrong = _odd_port(item, link)
    return broken(wrong) if wrong else fingerprint(item)


def _kind(link: dict[str, Any]) -> str:
    return (link.get("linkinfo") or {}).get("info_kind", "")


def _odd_bridge(link: dict[str, Any]) -> str:
    data = link["linkinfo"].get("info_data", {})
    for name, value in _BRIDGE.items():
        if data.get(name) != value:
            return f"its {name} was {data.get(name)} and not {value}"
    return "" if "UP" in link["flags"] else "it was down"


def _odd_port(item: Interface, link: dict[str, Any]) -> str:
    """What of a device is not as wanted, in words."""
    info = link.get("linkinfo") or {}
    data, slave = info.get("info_data") or {}, info.get("info_slave_data") or {}
    if item.mtu not in (None, link.get("mtu")):
        return f"its MTU was {link.get('mtu')} and not {item.mtu}"
    if not item.expected and item.type != "system" and "UP" not in link["flags"]:
        return f"device {item.name} was down"
    for name in ("learning", "flood"):
        on = item.options.get(name) != "off"
        if slave.get(name) != on:
            return f"its {name} was {'off' if on else 'on'} and not {'on' if on else 'off'}"
    if item.type == "vxlan":
        wanted: dict[str, Any] = {"id": int(item.options["id"]), "port": int(VXLAN_PORT)}
        wanted["local6" if ":" in item.options["local"] else "local"] = item.options["local"]
        for name, value in wanted.items():
            if data.get(name) != value:
                return f"its {name} was {data.get(name)} and not {value}"
    return ""


# --- making --------------------------------------------------------------------------------------


def apply_bridges(items: Iterable[Bridge]) -> dict[Key, str]:
    """Make bridges as wanted; returns key → reason of those that failed."""
    there = links()
    return _in_batches("ip", items, lambda item: _bridge_lines(item, there), _quiet)


def _bridge_lines(item: Bridge, there: Links) -> list[str]:
    options = " ".join(f"{name} {value}" for name, value in _BRIDGE.items())
    link = there.get(item.name)
    if link is not None and _kind(link) != "bridge":
        raise ApplyError(f"device {item.name} exists and is no bridge: remove or rename it")
    if (
        link is not None
        and _alias(link) is None
        and any(other.get("master") == item.name for other in there.values())
    ):
        raise ApplyError(f"bridge {item.name} exists and is not Netloom's: remove or rename it")
    verb = "add" if link is None else "set"
    return [
        f"link {verb} {item.name} type bridge {options}",
        f"link set {item.name} alias {ALIAS}{fingerprint(item)} up",
    ]


def _quiet(item: Bridge | Interface) -> None:
    """The host itself has no business in a tenant's network: no address of its own there."""
    if Path("/proc/sys/net/ipv6").is_dir():
        write_sysctl(f"ipv6.conf.{item.name.replace('.', '/')}.disable_ipv6", "1")


def apply_interfaces(items: Iterable[Interface]) -> tuple[dict[Key, str], list[str]]:
    """Make devices as wanted, in their bridges; returns key → reason of those that failed, and the names of those made anew."""
    there = links()
    made: list[str] = []

    def lines(item: Interface) -> list[str]:
        found = _interface_lines(item, there)
        if any(line.startswith("link add ") for line in found):
            made.append(item.name)
        return found

    failed = _in_batches(
        "ip", items, lines, lambda item: None if item.type == "system" else _quiet(item)
    )
    return failed, [name for name in made if not any(key[2] == name for key in failed)]


def _interface_lines(item: Interface, there: Links) -> list[str]:
    name, link = item.name, there.get(item.name)
    lines: list[str] = []
    if item.type == "system":
        if link is None:
            raise ApplyError(f"device {name} is not there")
        master = link.get("master")
        if master not in (None, item.bridge) and _alias(there.get(master, {})) is None:
            raise ApplyError(f"device {name} is in {master}, which is not Netloom's")
        if own := _addresses(name):
            raise ApplyError(
                f"device {name} has the address {own[0]}: a card in a bridge has none; move it elsewhere"
            )
    elif link is not None and _must_go(item, link):
        lines.append(f"link del {name}")
        link = None
    if item.expected and link is None:
        raise ApplyError(f"device {name} is not plugged")
    if link is None:
        lines.append(f"link add {name} {_type(item)}")
    if item.mtu and (link is None or link.get("mtu") != item.mtu):
        lines.append(f"link set {name} mtu {item.mtu}")
    if item.type != "system" and not item.expected:
        lines.append(f"link set {name} alias {ALIAS}{fingerprint(item)}")
    if link is None or link.get("master") != item.bridge:
        lines.append(f"link set {name} master {item.bridge}")
    flags = " ".join(f"{f} {item.options.get(f, 'on')}" for f in ("learning", "flood"))
    lines.append(f"link set {name} type bridge_slave {flags}")
    lines.append(f"link set {name} up")
    return lines


def _must_go(item: Interface, link: dict[str, Any]) -> bool:
    """Whether a device of that name has to be made anew: the kernel changes neither its kind nor where a tunnel ends."""
    if item.expected:
        return False
    if _kind(link) != item.type:
        if _alias(link) is None and link.get("master") != item.bridge:
            raise ApplyError(f"device {item.name} exists and is not Netloom's: remove or rename it")
        return True
    return item.type == "vxlan" and any(
        word in _odd_port(item, link) for word in ("its id", "its port", "its local")
    )


def _type(item: Interface) -> str:
    """The words that make a device."""
    match item.type:
        case "veth":
            return f"type veth peer name {peer_of(item)}"
        case "vxlan":
            local = item.options["local"]
            # Open vSwitch sends tunnels over IPv6 without a checksum.
            more = " udp6zerocsumrx" if ":" in local else ""
            return f"type vxlan id {item.options['id']} local {local} dstport {VXLAN_PORT}{more}"
        case "vlan":
            return f"link {item.options['link']} type vlan id {item.options['id']}"
        case other:
            raise ApplyError(f"device {item.name} cannot be made: it is of type {other}")


def _addresses(device: str) -> list[str]:
    found = json.loads(run(["ip", "-j", "-4", "addr", "show", "dev", device]))
    return [f"{a['local']}/{a['prefixlen']}" for item in found for a in item.get("addr_info", ())]


def remove(keys: Iterable[Key]) -> dict[Key, str]:
    """Remove devices from our bridges, and bridges; a card only leaves. Returns key → reason of those that failed."""
    there = links()

    def lines(key: Key) -> list[str]:
        link = there.get(key[-1])
        if link is None:
            return []
        if key[0] == "interface" and _alias(link) is None:
            return [f"link set {key[-1]} nomaster"] if link.get("master") == key[1] else []
        return [f"link del {key[-1]}"] if _alias(link) is not None else []

    failed = _in_batches("ip", keys, lines, lambda _key: None)
    # The end of a pair goes by itself when the kernel is done with the namespace of the other end.
    left = link_names() if failed else {}
    return {key: why for key, why in failed.items() if key[-1] in left}


# --- where MAC addresses are ---------------------------------------------------------------------


def read_fdb(devices: Iterable[str]) -> set[Key]:
    """Keys of the entries that somebody has put in for these devices; what is learned is none."""
    ours = set(devices)
    found: set[Key] = set()
    for item in json.loads(run(["bridge", "-j", "fdb", "show"])):
        device = item.get("ifname", "")
        if device not in ours:
            continue
        if item["mac"] == EVERYBODY and "dst" in item:
            found.add(("fdb", device, EVERYBODY, item["dst"]))
        elif "master" in item and item.get("state") == "static":
            found.add(("fdb", device, item["mac"], ""))
    return found


def apply_fdb(items: Iterable[FdbEntry]) -> dict[Key, str]:
    """Put entries in; returns key → reason of those that failed."""
    return _in_batches("bridge", items, _fdb_lines, lambda _item: None)


def _fdb_lines(item: FdbEntry) -> list[str]:
    if item.to is None:
        return [f"fdb replace {item.mac} dev {item.device} master static sticky"]
    return [f"fdb append {item.mac} dev {item.device} dst {item.to}"]


def remove_fdb(keys: Iterable[Key]) -> dict[Key, str]:
    """Take entries out, if they are there."""
    there = read_fdb({key[1] for key in keys})

    def lines(key: Key) -> list[str]:
        if key not in there:
            return []
        way = f"dst {key[3]}" if key[3] else "master static"
        return [f"fdb del {key[2]} dev {key[1]} {way}"]

    return _in_batches("bridge", keys, lines, lambda _key: None)


def _in_batches(
    tool: str,
    items: Iterable[Any],
    lines: Callable[[Any], list[str]],
    then: Callable[[Any], None],
) -> dict[Key, str]:
    """Have a tool do the lines of all items at once; if that fails, of each by itself, so that only the culprits fail."""
    failed: dict[Key, str] = {}
    todo: list[tuple[Key, Any, list[str]]] = []
    for item in items:
        key = item if isinstance(item, tuple) else item.key
        try:
            todo.append((key, item, lines(item)))
        except ApplyError as error:
            failed[key] = str(error)
    try:
        _batch(tool, [line for _, _, some in todo for line in some])
    except ApplyError:
        for key, item, _ in todo:
            try:
                _one_by_one(tool, lines, item)
            except ApplyError as error:
                failed[key] = str(error)
    for key, item, _ in todo:
        if key not in failed:
            try:
                then(item)
            except ApplyError as error:
                failed[key] = str(error)
    return failed


def _one_by_one(tool: str, lines: Callable[[Any], list[str]], item: Any) -> None:
    """Do an item's lines alone: a device that was made before the batch failed is not made again."""
    for line in lines(item):
        words = line.split()
        if words[:2] == ["link", "add"] and words[2] in link_names():
            continue
        _batch(tool, [line])


def _batch(tool: str, lines: list[str]) -> None:
    if lines:
        run([tool, "-batch", "-"], stdin="\n".join(lines) + "\n")
