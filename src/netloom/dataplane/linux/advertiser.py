"""Router advertisements: one dnsmasq for each router that has any to send, not a child of the agent.

Each has a folder of its own, named by the router's namespace: `conf`, `pid` and `mark`: what it was last given, and the
numbers of the devices that its sockets are bound to.
"""

from __future__ import annotations

from pathlib import Path

from netloom.dataplane.linux import homes, netns
from netloom.dataplane.linux.netlink import index_of, open_netlink
from netloom.dataplane.mark import broken, fingerprint
from netloom.dataplane.process import ApplyError, run
from netloom.model.advertising import Advertiser
from netloom.model.files import write_whole
from netloom.model.hoststate import Key
from netloom.render.dnsmasq import advertiser_conf
from netloom.render.values import Unwritable

STOP_SECONDS = 1.0


def read(directory: Path) -> dict[Key, str]:
    """Those of ours → fingerprint, or why one does not run as it was started."""
    found = homes.read("advertiser", directory, _running, lambda home: _mark(home)[0])
    for key, mark in found.items():
        if mark == _mark(directory / key[1])[0] and not is_on_devices(key[1], directory):
            found[key] = broken("one of its devices was made anew")
    return found


def damage(item: Advertiser, directory: Path) -> str:
    """What is not as wanted in the file of one, in words; empty where all is."""
    home = directory / item.namespace
    try:
        text = advertiser_conf(item, str(home))
    except Unwritable:
        return ""  # `ensure` says so
    return "" if homes.says(home / "conf", text) else "its file conf was changed"


def is_on_devices(namespace: str, directory: Path) -> bool:
    """Whether the devices that it was started on are still there."""
    pairs = [pair.split("=") for pair in _mark(directory / namespace)[1].split()]
    try:
        with netns.inside(namespace), open_netlink() as link:
            return all(link.link_lookup(ifname=name) == [int(number)] for name, number in pairs)
    except ApplyError:
        return False


def ensure(item: Advertiser, directory: Path) -> None:
    """Run it so; one that runs is started again. Raises ApplyError where it does not run, or cannot be told."""
    home = directory / item.namespace
    try:
        text = advertiser_conf(item, str(home))
    except Unwritable as error:
        raise ApplyError(f"dnsmasq cannot be told: {error}") from error
    home.mkdir(parents=True, exist_ok=True, mode=0o711)
    with netns.inside(item.namespace), open_netlink() as link:
        bound = " ".join(f"{each.device}={index_of(link, each.device)}" for each in item.links)
    (home / "mark").unlink(missing_ok=True)
    write_whole(home / "conf", text.encode(), 0o644)
    _stop(home)
    with netns.inside(item.namespace):
        run(["dnsmasq", f"--conf-file={home}/conf"], timeout=5)
    (home / "mark").write_text(f"{fingerprint(item)} {bound}")


def remove(namespace: str, directory: Path) -> None:
    """Stop it and forget its folder."""
    home = directory / namespace
    _stop(home)
    homes.remove(home)


def _mark(home: Path) -> tuple[str, str]:
    """(fingerprint, devices with their numbers) as of the last `ensure`."""
    mark, _, bound = homes.mark(home).partition(" ")
    return mark, bound


def _running(home: Path) -> int:
    """Process id, 0 where it does not run, or not in today's namespace of that name."""
    return homes.within(_left_behind(home), home.name)


def _left_behind(home: Path) -> int:
    """One of ours that still runs, whichever namespace it is in."""
    return homes.process(home, (f"--conf-file={home}/conf",))


def _stop(home: Path) -> None:
    homes.stop(home, lambda: _left_behind(home), STOP_SECONDS)
