"""The DHCP port comes back by itself, and costs nothing while nothing of its network changes."""

from __future__ import annotations

from pathlib import Path

import pytest
from msgspec.structs import replace

from netloom.keeper import dhcp as keeper
from netloom.model import Caller, Context, FixedIP, Network, NetworkSettings, Port, Subnet
from netloom.model.networking import AllocationPool
from netloom.network import dhcp, ipam, ports
from netloom.store import Store

CTX = Context(caller=Caller(roles=frozenset({"admin"})), settings=NetworkSettings())


@pytest.fixture
def store(tmp_path: Path):
    store = Store.open(f"sqlite:///{tmp_path}/netloom.db")
    store.upgrade()
    yield store
    store.close()


def network(store: Store, *, last: int = 20, dhcp_port: bool = True) -> None:
    """A network with an instance's port, and addresses up to .`last`."""
    pool = AllocationPool("10.0.0.2", f"10.0.0.{last}")
    with store.writer() as w:
        w.insert(Network(id="n", key=1))
        w.insert(
            Subnet(
                id="s",
                network_id="n",
                cidr="10.0.0.0/24",
                allocation_pools=(pool,),
                gateway_ip="10.0.0.1",
            )
        )
        take(w, "p", 2, host="node1")
        if dhcp_port:
            dhcp.ensure_dhcp_port(w, CTX, w.get(Network, "n"))


def take(w, id: str, last: int, **more: str) -> None:
    w.insert(
        Port(
            id=id,
            network_id="n",
            mac_address=f"fa:16:3e:00:00:{last:02x}",
            fixed_ips=(FixedIP("s", f"10.0.0.{last}"),),
            **more,
        )
    )
    w.claim(ipam.scope("n"), f"10.0.0.{last}", id)


def there(store: Store) -> Port | None:
    with store.reader() as r:
        return dhcp.dhcp_port(r, "n")


def test_a_deleted_port_is_made_again(store: Store):
    network(store)
    first = there(store)
    seen = keeper.follow(store, CTX, None)
    with store.writer() as w:
        ports.delete(w, CTX, first)
    assert there(store) is None
    seen = keeper.follow(store, CTX, seen)
    second = there(store)
    assert second is not None and second.id != first.id
    assert second.fixed_ips == first.fixed_ips
    with store.reader() as r:
        before = r.seq()
    seen = keeper.follow(store, CTX, seen)
    assert keeper.follow(store, CTX, seen) == before, "what is well is not written again"


def test_a_keeper_that_starts_finds_what_is_missing(store: Store):
    network(store, dhcp_port=False)
    keeper.follow(store, CTX, None)
    assert there(store) is not None


def test_an_address_that_is_freed_later_is_taken(store: Store):
    network(store, last=3, dhcp_port=False)
    with store.writer() as w:
        take(w, "q", 3)
        dhcp.ensure_dhcp_port(w, CTX, w.get(Network, "n"))
    assert there(store).fixed_ips == ()
    seen = keeper.follow(store, CTX, None)
    with store.reader() as r:
        before = r.seq()
    assert there(store).fixed_ips == ()
    assert keeper.follow(store, CTX, seen) == before, "waiting writes nothing"
    with store.writer() as w:
        ports.delete(w, CTX, w.get(Port, "q"))
    keeper.follow(store, CTX, seen)
    assert there(store).fixed_ips == (FixedIP("s", "10.0.0.3"),)


def test_a_pool_that_grows_gives_an_address(store: Store):
    network(store, last=2, dhcp_port=False)
    seen = keeper.follow(store, CTX, None)
    assert there(store).fixed_ips == ()
    with store.writer() as w:
        subnet = w.get(Subnet, "s")
        w.update(replace(subnet, allocation_pools=(AllocationPool("10.0.0.2", "10.0.0.9"),)))
    keeper.follow(store, CTX, seen)
    assert there(store).fixed_ips == (FixedIP("s", "10.0.0.3"),)


def test_a_network_without_instances_or_without_dhcp_gets_none(store: Store):
    network(store, dhcp_port=False)
    with store.writer() as w:
        w.update(replace(w.get(Subnet, "s"), enable_dhcp=False))
    seen = keeper.follow(store, CTX, None)
    assert there(store) is None
    with store.writer() as w:
        ports.delete(w, CTX, w.get(Port, "p"))
        w.update(replace(w.get(Subnet, "s"), enable_dhcp=True))
    keeper.follow(store, CTX, seen)
    assert there(store) is None
