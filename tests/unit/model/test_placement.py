"""Where ports and routers are."""

from __future__ import annotations

import pytest

from netloom.model import Port, Replica, Router
from netloom.model.names import (
    OWNER_DHCP,
    OWNER_FLOATING_IP,
    OWNER_ROUTER_GATEWAY,
    OWNER_ROUTER_INTERFACE,
)
from netloom.model.placement import is_bound_itself, is_everywhere, places


def port(owner: str = "compute:nova", host: str = "") -> Port:
    return Port(id="p", network_id="n", mac_address="x", device_owner=owner, host=host)


TWICE = Router(id="r", replicas=(Replica("n2", 50), Replica("n1", 49)))


def test_a_port_is_where_it_is_bound() -> None:
    assert places(port(host="c1")) == ("c1",) and places(port()) == ()
    assert is_bound_itself(port(host="c1"))


@pytest.mark.parametrize("owner", [OWNER_ROUTER_INTERFACE, OWNER_ROUTER_GATEWAY])
def test_a_routers_port_is_where_the_routers_replicas_are(owner: str) -> None:
    assert places(port(owner, "c1"), TWICE) == places(TWICE) == ("n2", "n1")
    assert places(port(owner, "c1")) == () == places(port(owner), Router(id="r"))
    assert not is_bound_itself(port(owner, "c1"))


def test_dhcp_is_wherever_its_network_is_and_a_floating_ip_nowhere() -> None:
    assert places(port(OWNER_DHCP, "c9"), present={"c2", "c1"}) == ("c1", "c2")
    assert places(port(OWNER_DHCP, "c9")) == () and is_everywhere(port(OWNER_DHCP))
    assert places(port(OWNER_FLOATING_IP, "c9")) == ()
