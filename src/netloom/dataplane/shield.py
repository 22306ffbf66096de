"""What the userspace switch takes in by a device of this host is not for this host's own kernel.

The switch reads frames from a packet socket, a copy: the kernel goes on to take each frame for its own. Unless it is
kept from that, it answers an instance's ARP for the host's addresses, lets it talk to the host's services past every
flow, and forwards for it. One chain a device in `table netdev netloom` of nftables drops what comes in by it, after
packet sockets have had it. The kernel's own datapath takes frames away from the kernel by itself.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

from netloom.dataplane.netlink import holder_of
from netloom.dataplane.netns import write_sysctl
from netloom.dataplane.ovsdb import Ovsdb, many
from netloom.dataplane.process import ApplyError, run

TABLE = "netdev netloom"
_CHAIN = re.compile(r"chain from-(\S+) \{")


def read() -> set[str]:
    """Devices that are shielded."""
    try:
        return set(_CHAIN.findall(run(["nft", "list", "table", *TABLE.split()])))
    except ApplyError as error:
        if "No such file" in str(error):
            return set()
        raise


def _text(device: str, tagged: bool) -> str:
    head = f'type filter hook ingress device "{device}" priority filter; policy drop;'
    # A VLAN device that the host has on its card is nobody's but the host's.
    return f"add chain {TABLE} from-{device} {{ {head} }}\n" + (
        f"flush chain {TABLE} from-{device}\nadd rule {TABLE} from-{device} vlan id 1-4094 accept\n"
        if tagged
        else ""
    )


def ensure(devices: Iterable[str], cards: Iterable[str] = ()) -> dict[str, str]:
    """Shield devices, all in one transaction; returns device → reason of those that failed.

    `cards`: network cards among them, which may have VLAN devices of the host on them.
    """
    uplinks = set(cards)
    texts = {name: f"add table {TABLE}\n" + _text(name, name in uplinks) for name in {*devices, *uplinks}}
    if not texts:
        return {}
    try:
        run(["nft", "-f", "-"], stdin="".join(texts.values()))
        return {}
    except ApplyError:
        pass  # one of them: which?
    failed: dict[str, str] = {}
    for name, text in texts.items():
        try:
            run(["nft", "-f", "-"], stdin=text)
        except ApplyError as error:
            failed[name] = f"this host's own kernel cannot be kept from {name}: {error}"
    return failed


def remove(devices: Iterable[str]) -> None:
    """Take chains of devices that are gone away: since Linux 6.16 they outlive them."""
    text = "".join(f"delete chain {TABLE} from-{name}\n" for name in devices)
    if text:
        run(["nft", "-f", "-"], stdin=text)


def quiet_underlay(database: Ovsdb, address: str) -> None:
    """Let only the bridge that has a tunnel's address answer ARP for it, not the cards in that bridge too.

    A neighbour that hears the card's answer last sends its tunnel to the card's MAC, where nothing unpacks it.
    """
    found = holder_of(address)
    ports, rows = database.rows("Port"), database.rows("Interface")
    for bridge in database.rows("Bridge").values():
        if found is None or bridge["name"] != found[0]:
            continue
        for uuid in many(bridge["ports"]):
            for number in many(ports[uuid]["interfaces"]) if uuid in ports else ():
                if number in rows and rows[number]["type"] in ("", "system"):
                    write_sysctl(f"ipv4.conf.{rows[number]['name'].replace('.', '/')}.arp_ignore", "1")
