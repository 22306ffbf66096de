"""Route netlink by our own client, beside what pyroute2 says of the same namespace."""

from __future__ import annotations

import errno
import os
import socket
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import pytest
from pyroute2 import IPRoute
from pyroute2.netlink.exceptions import NetlinkError

from netloom.dataplane.linux import netns
from netloom.dataplane.linux.rtnetlink import Netlink

pytestmark = pytest.mark.root

NAME = f"test-rtnl-{os.getpid()}"
HEADS = {"proto", "scope", "type", "dst_len", "prefixlen", "index", "flags", "state", "ifindex"}


@pytest.fixture
def both() -> Iterator[tuple[Netlink, Any]]:
    netns.create(NAME)
    try:
        with netns.inside(NAME):
            ours, theirs = Netlink(), IPRoute()
            yield ours, theirs
            ours.close()
            theirs.close()
    finally:
        netns.delete(NAME)


def seen(found: Iterable[Any], *names: str) -> list[tuple[str, ...]]:
    return sorted(
        tuple(str(item[name] if name in HEADS else item.get(name)) for name in names)
        for item in found
    )


def test_what_is_made_is_read_as_pyroute2_reads_it(both: tuple[Netlink, Any]) -> None:
    ours, theirs = both
    ours.link("add", ifname="v0", kind="veth", peer={"ifname": "v1"})  # pyroute2 does it
    (one,), (two,) = ours.link_lookup(ifname="v0"), ours.link_lookup(ifname="v1")
    assert theirs.link_lookup(ifname="v0") == [one]
    assert ours.link_lookup(ifname="none") == ours.link_lookup(ifname="far-too-long-a-name") == []
    ours.link("set", index=1, state="up", ifalias="netloom abc")
    ours.link("set", index=one, address="fa:16:3e:00:00:01", mtu=1400, state="up")
    ours.link("set", index=two, state="up")
    ours.addr("add", index=one, address="10.1.0.5", prefixlen=24, broadcast=True)
    ours.addr("add", index=one, address="fd00::5", prefixlen=64)
    for _ in range(2):
        ours.addr("replace", index=one, address="10.1.0.6", prefixlen=32)
    ours.route("add", dst="10.9.0.0/16", oif=one, gateway="10.1.0.9", proto=4)
    ours.route("replace", dst="0.0.0.0/0", oif=one, gateway="10.1.0.1", proto=18)
    ours.route("replace", dst="10.8.0.0/16", oif=one, scope=253, proto=4)
    mac = "fa:16:3e:00:00:09"
    ours.neigh("replace", dst="10.1.0.9", ifindex=one, lladdr=mac, state=0x80)
    looks: list[tuple[Callable[[Any], Iterable[Any]], tuple[str, ...]]] = [
        (
            lambda link: link.get_links(),
            ("index", "ifname", "address", "mtu", "ifalias", "flags", "carrier_up_count", "link"),
        )
    ]
    for family in (socket.AF_INET, socket.AF_INET6):
        looks += [
            (
                lambda link, f=family: link.get_addr(family=f),
                ("index", "address", "prefixlen", "local", "label", "broadcast"),
            ),
            (
                lambda link, f=family: link.get_routes(family=f),
                ("dst", "dst_len", "oif", "gateway", "proto", "scope", "type", "prefsrc", "table"),
            ),
            (
                lambda link, f=family: link.get_neighbours(family=f),
                ("dst", "lladdr", "ifindex", "state"),
            ),
            (
                lambda link, f=family: link.get_rules(family=f),
                ("priority", "table", "src", "iifname"),
            ),
        ]
    for look, names in looks:
        assert seen(look(ours), *names) == seen(look(theirs), *names)
    ours.route("del", dst="10.9.0.0/16", proto=4)
    ours.flush_routes(family=socket.AF_INET, proto=18)
    left = [item.get("dst") for item in ours.get_routes(family=socket.AF_INET, table=254)]
    assert left == ["10.1.0.0", "10.8.0.0"]
    ours.neigh("del", dst="10.1.0.9", ifindex=one)
    ours.flush_addr(index=one)
    assert ours.get_addr(index=one) == []
    ours.link("del", index=one)
    assert [item["ifname"] for item in ours.get_links()] == ["lo"]


def test_what_the_kernel_refuses(both: tuple[Netlink, Any]) -> None:
    ours, _ = both
    refused: list[tuple[int, Callable[[], object]]] = [
        (errno.EADDRNOTAVAIL, lambda: ours.addr("del", index=1, address="1.1.1.1", prefixlen=32)),
        (errno.ENODEV, lambda: ours.get_links(999)),
        (errno.ENODEV, lambda: ours.link("set", index=999, mtu=1400)),
        (errno.ESRCH, lambda: ours.route("del", dst="192.0.2.0/24")),
    ]
    for code, ask in refused:
        with pytest.raises(NetlinkError) as error:
            ask()
        assert error.value.code == code
    with pytest.raises(KeyError, match="rtnetlink"):
        ours.get_links(1)[0].get("qdisc")  # not read: nobody may take it for absent
