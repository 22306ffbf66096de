"""What the userspace switch takes in by a device of this host is not for this host's own kernel.

The switch reads frames from a packet socket, a copy: the kernel goes on to take each frame for its own. Unless it is
kept from that, it answers an instance's ARP for the host's addresses, lets it talk to the host's services past every
flow, and forwards for it. One chain a device in `table netdev netloom` of nftables drops what comes in by it, after
packet sockets have had it. The kernel's own datapath takes frames away from the kernel by itself.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

from netloom.dataplane.process import ApplyError, run
from netloom.model.hoststate import Interface

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


def _text(item: Interface) -> str:
    chain = f"{TABLE} from-{item.name}"
    hook = f'type filter hook ingress device "{item.name}" priority filter; policy drop;'
    text = f"add table {TABLE}\nadd chain {chain} {{ {hook} }}\n"
    if item.type == "system":
        # A VLAN device that the host has on its card is nobody's but the host's.
        text += f"flush chain {chain}\nadd rule {chain} vlan id 1-4094 accept\n"
    return text


def ensure(items: Iterable[Interface]) -> dict[str, str]:
    """Shield these devices, all in one transaction; returns device → reason of those that failed."""
    texts = {item.name: _text(item) for item in items}
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
