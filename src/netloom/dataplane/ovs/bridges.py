"""Bridges and their ports in the Open vSwitch database.

Ours are marked `external_ids:netloom=<fingerprint>` on the Bridge and on the Port; nothing else is
touched. Our end of an instance's veth pair is made here too, so that the instance can be given the
other end later.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence, Set
from pathlib import Path
from typing import Any

from netloom.dataplane.linux.netlink import (
    Link,
    checksum_offload_off,
    delete_link,
    holder_of,
    index_of,
    link_names,
    links_by_name,
    open_netlink,
)
from netloom.dataplane.linux.netns import write_sysctl
from netloom.dataplane.mark import broken, fingerprint
from netloom.dataplane.ovs import bonds, shield
from netloom.dataplane.ovs.ovsdb import Ovsdb, Row, first, many, to_map, unopened
from netloom.dataplane.process import ApplyError
from netloom.model.hoststate import Bridge, HostObject, Interface, Key

MARK = "netloom"
_OVS_TYPE = {"veth": "", "system": "", "bond": ""}
_DEVICES = ("veth", "system")
"""Types of ports that are devices of the kernel."""


def peer_name(device: str) -> str:
    """The far end of an instance's veth while it is still on the host (`eni…` for `tap…`)."""
    return "eni" + device.removeprefix("tap")


def _marked(row: Row) -> str | None:
    return row["external_ids"].get(MARK)


def _interfaces(database: Ovsdb) -> dict[str, tuple[str, Row, Row]]:
    """Name → (bridge, Port row, Interface row) of every port with one interface."""
    ports, rows = database.rows("Port"), database.rows("Interface")
    found: dict[str, tuple[str, Row, Row]] = {}
    for bridge in database.rows("Bridge").values():
        for uuid in many(bridge["ports"]):
            port = ports.get(uuid)
            row = rows.get(many(port["interfaces"])[0]) if port else None
            if port and row:
                found[port["name"]] = (bridge["name"], port, row)
    return found


def ofports(database: Ovsdb) -> dict[str, int]:
    """Device → OpenFlow port number, of those that the switch has opened."""
    numbers: dict[str, int] = {}
    for row in database.rows("Interface").values():
        number = first(row["ofport"])
        if number is not None and number > 0:
            numbers[row["name"]] = number
    return numbers


def kernel_devices(database: Ovsdb) -> dict[str, int]:
    """Ports that are devices of this host's kernel, whoever plugged them → their index."""
    links = link_names()
    names = (row["name"] for row in database.rows("Interface").values() if _is_device(row))
    return {name: links[name] for name in names if name in links}


def quiet_underlay(database: Ovsdb, address: str) -> None:
    """Let only the bridge that has a tunnel's address answer ARP for it, not the cards in that bridge too.

    A neighbour that hears the card's answer last sends its tunnel to the card's MAC, where nothing unpacks it. Of IPv6
    there is nothing to do: a card answers for its own addresses alone.
    """
    if ":" in address:
        return
    found = holder_of(address)
    for name in _cards_in(database, found[0]) or () if found is not None else ():
        write_sysctl(f"ipv4.conf.{name.replace('.', '/')}.arp_ignore", "1")


def cards_of(database: Ovsdb, address: str | None) -> list[str]:
    """The cards of this host by which what has this address leaves: those of its bridge, or the device that has it."""
    found = holder_of(address) if address else None
    if found is None:
        return []
    inside = _cards_in(database, found[0])
    return [found[0]] if inside is None else inside


def _cards_in(database: Ovsdb, bridge: str) -> list[str] | None:
    """Devices of the kernel in a bridge, those of a bond too; None where there is no such bridge."""
    row = next((row for row in database.rows("Bridge").values() if row["name"] == bridge), None)
    if row is None:
        return None
    ports, rows = database.rows("Port"), database.rows("Interface")
    parts = (
        rows.get(number)
        for uuid in many(row["ports"])
        if uuid in ports
        for number in many(ports[uuid]["interfaces"])
    )
    return sorted(part["name"] for part in parts if part is not None and _is_device(part))


def ours(database: Ovsdb) -> list[str]:
    """Names of our bridges that are there."""
    rows = database.rows("Bridge").values()
    return sorted(row["name"] for row in rows if _marked(row) is not None)


def read(
    database: Ovsdb, wanted: Mapping[Key, HostObject], links: Mapping[str, Link] | None = None
) -> dict[Key, str]:
    """Our bridges and ports → fingerprint, or why one is broken that is there (`mark.broken`).

    `wanted`: those that are among these are compared column by column, the others are there and no more. `links`: the
    devices of the kernel as of now, where somebody has read them.
    """
    found: dict[Key, str] = {}
    links = links_by_name() if links is None else links
    for bridge in database.rows("Bridge").values():
        mark = _marked(bridge)
        if mark is not None:
            key = ("bridge", bridge["name"])
            item = wanted.get(key)
            odd = _odd_bridge(bridge, item) if isinstance(item, Bridge) else ""
            found[key] = broken(odd) if odd else mark
    for name, (bridge, port, row) in _interfaces(database).items():
        mark = _marked(port)
        if mark is None:
            continue
        key = ("interface", bridge, name)
        item = wanted.get(key)
        wrong = _lost(row, name, links.get(name))
        if not wrong and isinstance(item, Interface) and item.members:
            wrong = bonds.odd(database, port, item)
        elif not wrong and isinstance(item, Interface) and mark == fingerprint(item):
            wrong = _odd_port(port, row, links.get(name), item)
        found[key] = broken(wrong) if wrong else mark
    return found


def _lost(row: Row, name: str, link: Link | None) -> str:
    """Why a port carries nothing, in words; empty where it does."""
    kind = row["external_ids"].get("netloom-type")
    if kind in _DEVICES and link is None:
        return f"device {name} was gone"
    if why := unopened(row):
        return f"Open vSwitch had lost it: {why}"
    if kind == "veth" and link is not None and link.state == "down":
        return f"device {name} was down"
    return ""


def _odd_bridge(row: Row, item: Bridge) -> str:
    wanted = _bridge_columns(item)
    return _odd(row, {name: wanted[name] for name in ("datapath_type", "fail_mode")}) or _odd_map(
        row["other_config"], {"disable-in-band": "true"}, "other_config"
    )


def _odd_port(port: Row, row: Row, link: Link | None, item: Interface) -> str:
    """What of a port's columns, and of its device, is not as wanted, in words."""
    wrong = (
        _odd(row, {"type": _OVS_TYPE.get(item.type, item.type)})
        or _odd_map(row["options"], item.options, "options", whole=True)
        or _odd_map(row["external_ids"], item.external_ids, "external_ids")
    )
    if not wrong and first(port["tag"]) is not None:
        wrong = f"it had VLAN tag {first(port['tag'])}"
    if not wrong and link is not None and item.type == "veth" and item.mtu not in (None, link.mtu):
        wrong = f"its MTU was {link.mtu} and not {item.mtu}"
    return wrong


def _odd(row: Row, wanted: Mapping[str, str]) -> str:
    for name, value in wanted.items():
        there = first(row[name])
        if (there or "") != value:
            return f"its {name} was {there or 'none'} and not {value or 'none'}"
    return ""


def _odd_map(
    there: dict[str, str], wanted: Mapping[str, str], name: str, whole: bool = False
) -> str:
    """`whole`: nothing else may be in it."""
    for key, value in wanted.items():
        if there.get(key) != value:
            return f"{key} of its {name} was {there.get(key, 'none')} and not {value}"
    more = sorted(there.keys() - wanted.keys()) if whole else []
    return f"its {name} had {more[0]}={there[more[0]]}" if more else ""


def link_states_of(database: Ovsdb, links: Mapping[str, Link]) -> dict[str, str]:
    """The ports that are devices of this host's kernel, whoever plugged them → `Link.state`."""
    names = (row["name"] for row in database.rows("Interface").values() if _is_device(row))
    return {name: links[name].state for name in names if name in links}


def _bridge_rows(item: Bridge, number: int) -> list[dict[str, Any]]:
    return [
        {
            "op": "insert",
            "table": "Interface",
            "uuid-name": f"bi{number}",
            "row": {"name": item.name, "type": "internal"},
        },
        {
            "op": "insert",
            "table": "Port",
            "uuid-name": f"bp{number}",
            "row": {"name": item.name, "interfaces": ["named-uuid", f"bi{number}"]},
        },
        {
            "op": "insert",
            "table": "Bridge",
            "uuid-name": f"bb{number}",
            "row": {
                "name": item.name,
                "ports": ["named-uuid", f"bp{number}"],
                **_bridge_columns(item),
            },
        },
        {
            "op": "mutate",
            "table": "Open_vSwitch",
            "where": [],
            "mutations": [["bridges", "insert", ["set", [["named-uuid", f"bb{number}"]]]]],
        },
    ]


def _bridge_columns(item: Bridge) -> dict[str, Any]:
    return {
        "datapath_type": item.datapath_type,
        "fail_mode": "secure" if item.secure else "standalone",
        "external_ids": to_map({MARK: fingerprint(item)}),
        "other_config": to_map({"disable-in-band": "true"}),
    }


def _interface_columns(item: Interface) -> dict[str, Any]:
    return {
        "type": _OVS_TYPE.get(item.type, item.type),
        "options": to_map(item.options),
        "external_ids": to_map({**item.external_ids, "netloom-type": item.type}),
    }


def _operations(
    database: Ovsdb, item: Bridge | Interface, number: int, known: Set[str]
) -> list[dict[str, Any]]:
    """What makes one bridge or interface as wanted; raises ApplyError where it is somebody else's.

    A port with a name of ours in a bridge of ours is ours, whoever plugged it last.
    """
    if isinstance(item, Bridge):
        row = next(
            (row for row in database.rows("Bridge").values() if row["name"] == item.name), None
        )
        if row is None:
            return _bridge_rows(item, number)
        if _marked(row) is None and item.name not in known:
            raise ApplyError(f"bridge {item.name} exists and is not Netloom's: remove or rename it")
        where = [["name", "==", item.name]]
        return [{"op": "update", "table": "Bridge", "where": where, "row": _bridge_columns(item)}]
    there = _interfaces(database).get(item.name)
    mark = to_map({MARK: fingerprint(item)})
    if item.members:
        return _bond_operations(database, item, number, mark)
    if there is None:
        row = {"name": item.name, **_interface_columns(item)}
        port = {"name": item.name, "interfaces": ["named-uuid", f"i{number}"], "external_ids": mark}
        where = [["name", "==", item.bridge]]
        join = ["ports", "insert", ["set", [["named-uuid", f"p{number}"]]]]
        return [
            *(_let_go(database, item) if item.type == "system" else []),
            {"op": "insert", "table": "Interface", "uuid-name": f"i{number}", "row": row},
            {"op": "insert", "table": "Port", "uuid-name": f"p{number}", "row": port},
            {"op": "mutate", "table": "Bridge", "where": where, "mutations": [join]},
        ]
    bridge, port, _ = there
    if _marked(port) is None and bridge not in {*ours(database), *known}:
        raise ApplyError(f"port {item.name} of {bridge} is not Netloom's")
    if bridge != item.bridge:
        raise ApplyError(f"port {item.name} is still in {bridge}")
    where = [["name", "==", item.name]]
    return [
        {"op": "update", "table": "Interface", "where": where, "row": _interface_columns(item)},
        {
            "op": "update",
            "table": "Port",
            "where": where,
            "row": {"external_ids": mark, "tag": ["set", []]},
        },
    ]


def _let_go(database: Ovsdb, item: Interface) -> list[dict[str, Any]]:
    """What makes our other ports let go of a port's cards: one that was a port by itself joins a bond, and the other way round."""
    rows, where = database.rows("Interface"), [["name", "==", item.bridge]]
    operations: list[dict[str, Any]] = []
    for uuid, port in database.rows("Port").items():
        held = {rows[each]["name"] for each in many(port["interfaces"]) if each in rows}
        if port["name"] != item.name and held.isdisjoint(item.devices):
            continue
        if _marked(port) is None:
            raise ApplyError(f"port {port['name']} of {item.bridge} is not Netloom's")
        leave = ["ports", "delete", ["uuid", uuid]]
        operations.append({"op": "mutate", "table": "Bridge", "where": where, "mutations": [leave]})
    return operations


def _bond_operations(
    database: Ovsdb, item: Interface, number: int, mark: Any
) -> list[dict[str, Any]]:
    """What makes a bond: all its interfaces anew, in one transaction with those that go."""
    where = [["name", "==", item.bridge]]
    operations = _let_go(database, item)
    names: list[list[str]] = []
    for place, part in enumerate(bonds.parts(item)):
        name = f"i{number}m{place}"
        row = {"name": part.name, **_interface_columns(item)}
        operations.append({"op": "insert", "table": "Interface", "uuid-name": name, "row": row})
        names.append(["named-uuid", name])
    port = {"name": item.name, "interfaces": ["set", names], "external_ids": mark, **bonds.COLUMNS}
    join = ["ports", "insert", ["set", [["named-uuid", f"p{number}"]]]]
    return [
        *operations,
        {"op": "insert", "table": "Port", "uuid-name": f"p{number}", "row": port},
        {"op": "mutate", "table": "Bridge", "where": where, "mutations": [join]},
    ]


def _make_device(item: Interface, userspace: bool) -> bool:
    """Make our veth pair, or find the NIC; true where it was made now."""
    with open_netlink() as link:
        made = item.type == "veth" and not link.link_lookup(ifname=item.name)
        if made:
            peer = peer_name(item.name)
            link.link("add", ifname=item.name, kind="veth", peer={"ifname": peer})
            if userspace:
                checksum_offload_off(peer)
                checksum_offload_off(item.name)
            if Path("/proc/sys/net/ipv6").is_dir():
                # Else the host would talk to the instance by a link-local address of its own.
                write_sysctl(f"ipv6.conf.{item.name}.disable_ipv6", "1")
        index_of(link, item.name)
    return made


def _bring_up(item: Interface) -> None:
    with open_netlink() as link:
        index = index_of(link, item.name)
        if item.mtu:
            link.link("set", index=index, mtu=item.mtu)
        link.link("set", index=index, state="up")


def apply(
    database: Ovsdb,
    wanted: Sequence[Bridge | Interface],
    userspace: bool,
    known: Set[str] = frozenset(),
) -> dict[Key, str]:
    """Make these as wanted, all in one transaction; returns key → reason of those that failed.

    No device of ours is up before it is shielded. `known`: bridges that are ours though their mark is gone.
    """
    failed: dict[Key, str] = {}
    operations: dict[Key, list[dict[str, Any]]] = {}
    devices = [
        part
        for item in wanted
        if isinstance(item, Interface)
        for part in bonds.parts(item)
        if part.type in _DEVICES
    ]
    missing: dict[str, str] = {}
    for item in devices:
        try:
            if _make_device(item, userspace) and item.name in _interfaces(database):
                # The switch holds on to the device of that name that is gone: it must let go first.
                failed.update(remove(database, [item.key], keep_device=True))
        except ApplyError as error:
            missing[item.name] = str(error)
    for item in wanted:
        if isinstance(item, Interface):
            why = bonds.why_not(item, missing, item.name in _interfaces(database))
            if why:
                failed[item.key] = why
    gone = {item.key for item in devices} & failed.keys()
    there = [item for item in devices if item.name not in missing and item.key not in gone]
    open_ = shield.ensure(there) if userspace else {}
    for number, item in enumerate(wanted):
        if item.key in failed:
            continue
        try:
            for part in bonds.parts(item) if isinstance(item, Interface) else ():
                if part in there:
                    if part.name in open_:
                        raise ApplyError(open_[part.name])
                    _bring_up(part)
            operations[item.key] = _operations(database, item, number, known)
        except ApplyError as error:
            failed[item.key] = str(error)
    failed.update(_commit(database, operations))
    rows = _interfaces(database)
    for item in wanted:
        if isinstance(item, Interface) and item.key not in failed and item.name in rows:
            reason = first(rows[item.name][2]["error"])
            if reason:
                failed[item.key] = f"Open vSwitch: {reason}"
    return failed


def remove(database: Ovsdb, keys: Iterable[Key], *, keep_device: bool = False) -> dict[Key, str]:
    """Remove bridges and ports that are ours; returns key → reason of those that failed.

    An instance's veth pair goes too, unless `keep_device`.
    """
    operations: dict[Key, list[dict[str, Any]]] = {}
    bridges = {row["name"]: uuid for uuid, row in database.rows("Bridge").items() if _marked(row)}
    ports = {row["name"]: uuid for uuid, row in database.rows("Port").items() if _marked(row)}
    veths = {row["name"] for row in database.rows("Interface").values() if _is_veth(row)}
    gone = list(keys)
    for key in gone:
        if key[0] == "bridge" and key[1] in bridges:
            leave = ["bridges", "delete", ["uuid", bridges[key[1]]]]
            operations[key] = [
                {"op": "mutate", "table": "Open_vSwitch", "where": [], "mutations": [leave]}
            ]
        elif key[0] == "interface" and key[2] in ports:
            leave = ["ports", "delete", ["uuid", ports[key[2]]]]
            where = [["name", "==", key[1]]]
            operations[key] = [
                {"op": "mutate", "table": "Bridge", "where": where, "mutations": [leave]}
            ]
    failed = _commit(database, operations)
    for key in gone:
        if key not in failed and key[0] == "interface" and key[2] in veths and not keep_device:
            delete_link(key[2])
    return failed


def _is_device(row: Row) -> bool:
    return row["type"] in ("", "system")


def _is_veth(row: Row) -> bool:
    return row["external_ids"].get("netloom-type") == "veth"


def _commit(database: Ovsdb, operations: dict[Key, list[dict[str, Any]]]) -> dict[Key, str]:
    """All in one transaction; if that fails, one by one, so that only the culprits fail."""
    if not operations:
        return {}
    try:
        database.transact([step for steps in operations.values() for step in steps])
        return {}
    except ApplyError as error:
        if len(operations) == 1:
            return {next(iter(operations)): str(error)}
    failed: dict[Key, str] = {}
    for key, steps in operations.items():
        try:
            database.transact(steps)
        except ApplyError as error:
            failed[key] = str(error)
    return failed
