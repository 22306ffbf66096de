from __future__ import annotations

from tests.worlds import World

from netloom.agent.neighbours import Neighbours
from netloom.dataplane.linux.netlink import arp_request
from netloom.model.hoststate import HostState
from netloom.plan import plan

ADDRESS = "10.0.0.12"
OLD, NEW = "fa:16:3e:00:02:01", "fa:16:3e:00:02:02"
TO_ALL, TO_DEVICES_HERE = "load:0x0->NXM_NX_REG3[]", "load:0x1->NXM_NX_REG3[]"


def state(*at: tuple[str, str]) -> HostState:
    """Host a's, with one port of its own and others at 10.0.0.12 with this MAC on that host."""
    cloud = World()
    cloud.host("a")
    cloud.host("b")
    cloud.network("net-a")
    cloud.subnet("sub-a", "net-a", "10.0.0.0/24")
    cloud.default_group("sg")
    cloud.port("own", "net-a", [("sub-a", "10.0.0.11")], "a", security_groups=("sg",))
    for mac, host in at:
        cloud.port(
            mac, "net-a", [("sub-a", ADDRESS)], host, security_groups=("sg",), mac_address=mac
        )
    return plan(cloud.view("a"))


def told(neighbours: Neighbours, now: HostState) -> list[tuple[bytes, str]]:
    return [(frame, actions.split(",")[1]) for frame, actions in neighbours.news(now)]


def test_an_address_that_moved_elsewhere_is_told_to_devices_here() -> None:
    neighbours = Neighbours()
    assert told(neighbours, state((OLD, "b"))) == []  # found so at the start
    assert told(neighbours, state()) == []
    assert told(neighbours, state((NEW, "b"))) == [
        (arp_request(NEW, ADDRESS, ADDRESS), TO_DEVICES_HERE)
    ]
    assert told(neighbours, state((NEW, "b"))) == []
    # Between these others may have used it.
    assert told(neighbours, state()) == []
    assert told(neighbours, state((NEW, "b"))) == [
        (arp_request(NEW, ADDRESS, ADDRESS), TO_DEVICES_HERE)
    ]


def test_an_address_that_is_new_here_is_told_to_all() -> None:
    neighbours = Neighbours()
    assert told(neighbours, state()) == []
    assert told(neighbours, state((NEW, "a"))) == [(arp_request(NEW, ADDRESS, ADDRESS), TO_ALL)]
    assert told(neighbours, state((NEW, "a"))) == []
