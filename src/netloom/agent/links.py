"""Ports whose link is down: shown where it is not ours to put up.

Our own end of an instance's card is put up again (`dataplane/ovs/bridges.py`); what stands here is what only others can
mend: a card of this host, a device that somebody else plugged, and an instance that has put its own end down.
"""

from __future__ import annotations

from collections.abc import Container, Iterable, Mapping

from netloom.agent.reconcile.retry import Trouble
from netloom.model.hoststate import Interface, Key


def linkless(
    wanted: Iterable[Interface], links: Mapping[str, str], running: Container[str]
) -> dict[Key, Trouble]:
    """The trouble of ports without a link. One that never had any is still being set up by its instance.

    `links`: device → its state, as `netlink.Link.state` says; `running`: devices of running instances.
    """
    found: dict[Key, Trouble] = {}
    for item in wanted:
        if item.members:
            _bond(item, links, found)
            continue
        now = links.get(item.name)
        ours = item.type == "veth" and not item.expected
        if now in (None, "up") or (ours and (now == "down" or item.name not in running)):
            continue  # ours is put up, or its failure is said
        if item.type == "system":
            wrong = "is down" if now == "down" else "has no link"
            told = (
                f"device {item.name} {wrong}: it is this host's card, which Netloom leaves as it is"
            )
            found[item.key] = Trouble("error", told)
        elif now == "down":
            told = f"device {item.name} is down: whoever plugged it must put it up"
            found[item.key] = Trouble("pending", told)
        elif now == "no link":
            told = f"device {item.name} has no link: its other end, in the instance, is down"
            found[item.key] = Trouble("pending", told)
    return found


def _bond(item: Interface, links: Mapping[str, str], found: dict[Key, Trouble]) -> None:
    """A bond goes on as long as one of its cards has a link; that one has none is said all the same."""
    lost = [name for name in item.members if links.get(name) != "up"]
    if lost:
        what = " and ".join(f"device {name}" for name in lost)
        left = [name for name in item.members if name not in lost]
        told = f"{what} of {item.name} without a link: " + (
            f"{' and '.join(left)} carries all" if left else "none is left"
        )
        found[item.key] = Trouble("pending" if left else "error", told)
