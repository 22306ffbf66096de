from __future__ import annotations

from netloom.agent.neighbours import Neighbours
from netloom.agent.reconcile.diff import News
from netloom.dataplane.linux.netlink import arp_request
from netloom.model.hoststate import HostState
from netloom.plan import plan
from tests.support.worlds import World

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


class Told:
    """What is told after each state."""

    def __init__(self) -> None:
        self._neighbours = Neighbours()
        self._state = HostState()

    def __call__(self, now: HostState) -> list[tuple[bytes, str]]:
        self._neighbours.follow(News.of(self._state.objects, now.objects))
        self._state = now
        return [(frame, actions.split(",")[1]) for frame, actions in self._neighbours.frames()]


def test_an_address_that_moved_elsewhere_is_told_to_devices_here() -> None:
    told = Told()
    assert told(state((OLD, "b"))) == []  # found so at the start
    assert told(state()) == []
    assert told(state((NEW, "b"))) == [(arp_request(NEW, ADDRESS, ADDRESS), TO_DEVICES_HERE)]
    assert told(state((NEW, "b"))) == []
    # Between these others may have used it.
    assert told(state()) == []
    assert told(state((NEW, "b"))) == [(arp_request(NEW, ADDRESS, ADDRESS), TO_DEVICES_HERE)]


def test_an_address_that_is_new_here_is_told_to_all() -> None:
    told = Told()
    assert told(state()) == []
    assert told(state((NEW, "a"))) == [(arp_request(NEW, ADDRESS, ADDRESS), TO_ALL)]
    assert told(state((NEW, "a"))) == []
