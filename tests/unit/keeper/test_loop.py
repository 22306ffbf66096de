import time
from pathlib import Path

import pytest

from netloom.identity import bootstrap
from netloom.keeper.loop import Memory, tick
from netloom.model import (
    Away,
    Caller,
    Context,
    Flavor,
    HostFacts,
    NetworkSettings,
    Port,
    Router,
    Server,
    Status,
)
from netloom.model.networking import Gateway, Network
from netloom.model.placement import places
from netloom.model.settings import ComputeSettings
from netloom.network import binding
from netloom.store import Store

NOW = 0.0
"""When the test began: the store stamps what it makes with the real clock."""
NETWORK = NetworkSettings()
COMPUTE = ComputeSettings(build_seconds=60)
CTX = Context(caller=Caller(roles=frozenset({"admin"})), settings=NETWORK)
MAC = "fa:16:3e:00:00:01"


@pytest.fixture(autouse=True)
def now(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setitem(globals(), "NOW", time.time())


@pytest.fixture
def store(tmp_path: Path):
    store = Store.open(f"sqlite:///{tmp_path}/netloom.db")
    store.upgrade()
    yield store
    store.close()


def host(store: Store, name: str, at: float, roles: tuple[str, ...] = ("compute",)) -> None:
    with store.writer() as w:
        mappings = {"public": "br-public"}
        facts = HostFacts(host=name, tunnel_ip="192.0.2.1", bridge_mappings=mappings, roles=roles)
        w.put_host(name, secret_hash="x", facts=facts)
        w.heartbeat(name, at, 0)


def building(store: Store) -> None:
    where = {"device_id": "s", "device_owner": "compute:nova", "host": "node1"}
    with store.writer() as w:
        w.insert(Network(id="n", key=1))
        w.insert(Port(id="p", network_id="n", mac_address=MAC, **where))
        flavor = Flavor(id="f")
        w.insert(
            Server(id="s", user_id="u", image_id="i", flavor=flavor, host="node1", port_ids=("p",))
        )
        w.set_api_status(Server, "s", "BUILD")


def run(store: Store, memory: Memory, now: float) -> None:
    tick(store, NETWORK, COMPUTE, memory, now, Away())


def state(store: Store) -> tuple[str, str]:
    with store.reader() as reader:
        server = reader.get(Server, "s")
        return reader.api_status(Server, ["s"])["s"], (server.fault or {}).get("message", "")


def test_a_late_build_fails_with_what_its_host_says(store: Store):
    host(store, "node1", NOW + 100)
    building(store)
    memory = Memory()
    run(store, memory, NOW)
    run(store, memory, NOW + 50)
    assert state(store) == ("BUILD", "")
    why = "the image is being downloaded"
    with store.writer() as w:
        row = Status(kind="server", id="s", aspect="instance", seq=1, state="pending", detail=why)
        w.put_status("node1", [row])
    run(store, memory, NOW + 70)
    status, message = state(store)
    assert status == "ERROR"
    assert "not ready within 60 s" in message
    assert why in message


def test_a_late_build_on_a_dead_host(store: Store):
    host(store, "node1", NOW - 1000)
    building(store)
    memory = Memory()
    run(store, memory, NOW)
    run(store, memory, NOW + 70)
    assert "node1 does not report" in state(store)[1]


def test_a_late_build_whose_port_is_down(store: Store):
    host(store, "node1", NOW + 100)
    building(store)
    memory = Memory()
    run(store, memory, NOW)
    run(store, memory, NOW + 70)
    assert "port p is DOWN" in state(store)[1]


def test_a_restarted_keeper_gives_a_build_its_time(store: Store):
    host(store, "node1", NOW + 1000)
    building(store)
    run(store, Memory(), NOW + 500)
    assert state(store)[0] == "BUILD"


def test_a_router_that_waits_is_placed_when_a_host_comes(store: Store):
    with store.writer() as w:
        w.insert(
            Network(id="n", key=1, external=True, network_type="flat", physical_network="public")
        )
        w.insert(Router(id="r", external_gateway_info=Gateway(network_id="n")))
    memory = Memory()
    run(store, memory, NOW)
    with store.reader() as reader:
        assert places(reader.get(Router, "r")) == ()
        before = reader.seq()
    run(store, memory, NOW + 5)
    with store.reader() as reader:
        assert reader.seq() == before, "waiting writes nothing"
    host(store, "net1", NOW, roles=("network",))
    run(store, memory, NOW + 10)
    with store.reader() as reader:
        assert places(reader.get(Router, "r")) == ("net1",)


def test_what_could_not_be_bound_is_when_the_host_comes(store: Store):
    with store.writer() as w:
        w.insert(Network(id="n", key=1))
        port = Port(id="p", network_id="n", mac_address=MAC, host="node1")
        w.insert(binding.bound(w, CTX, port, w.get(Network, "n")))
    memory = Memory()
    run(store, memory, NOW)
    host(store, "node1", NOW)
    run(store, memory, NOW + 3)
    with store.reader() as reader:
        assert reader.get(Port, "p").vif_type == "ovs"


def test_old_changes_go_and_new_ones_stay(store: Store):
    bootstrap.bootstrap(store, ())
    with store.reader() as reader:
        newest = reader.seq()
    week = COMPUTE.change_seconds
    run(store, Memory(), NOW + week - 60)
    with store.reader() as reader:
        assert reader.oldest() == 1
    run(store, Memory(), NOW + week + 60)
    with store.reader() as reader:
        assert reader.oldest() == newest, "the newest always stays"
