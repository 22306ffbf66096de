"""The API's status of objects follows what their hosts report."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from msgspec.structs import replace

from netloom.compute import servers
from netloom.model import Flavor, FloatingIP, Network, Port, Replica, Router, Server, Status
from netloom.model.errors import Conflict
from netloom.network import status
from netloom.store import Store


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    store = Store.open(f"sqlite:///{tmp_path}/db")
    store.upgrade()
    with store.writer() as w:
        w.insert(Network(id="net"))
        w.insert(Network(id="ext", external=True))
        w.insert(
            Port(
                id="port",
                network_id="net",
                mac_address="fa:16:3e:00:00:01",
                host="c1",
                device_id="vm",
                device_owner="compute:nova",
            )
        )
        w.insert(Router(id="router", replicas=(Replica("n1"),)))
        w.insert(
            Port(
                id="leg",
                network_id="net",
                mac_address="fa:16:3e:00:00:02",
                device_id="router",
                device_owner="network:router_interface",
            )
        )
        w.insert(
            Port(
                id="fipport",
                network_id="ext",
                mac_address="fa:16:3e:00:00:03",
                device_owner="network:floatingip",
            )
        )
        w.insert(
            FloatingIP(
                id="fip",
                floating_network_id="ext",
                floating_ip_address="192.0.2.9",
                floating_port_id="fipport",
                port_id="port",
                router_id="router",
                fixed_ip_address="10.0.0.3",
            )
        )
        w.insert(
            Server(
                id="vm",
                user_id="u",
                image_id="img",
                flavor=Flavor(id="f"),
                host="c1",
                port_ids=("port",),
            )
        )
        for name in ("c1", "c2", "n1"):
            w.put_host(name, secret_hash="")
    yield store
    store.close()


def report(store: Store, host: str, *rows: tuple[str, str, str, str]) -> None:
    with store.writer() as w:
        w.put_status(
            host,
            [
                Status(kind=kind, id=i, aspect=a, seq=1, state=s, detail="why")
                for kind, i, a, s in rows
            ],
        )
        status.refresh(w, {(kind, i) for kind, i, _, _ in rows})


def statuses(store: Store) -> dict[str, str]:
    with store.reader() as r:
        return {
            i: s
            for kind in status.KINDS
            for i, s in r.api_status(kind, ["port", "leg", "fip", "vm", "router"]).items()
        }


def test_a_server_is_active_only_with_its_port(store: Store) -> None:
    report(store, "c1", ("server", "vm", "instance", "ok"))
    assert statuses(store)["vm"] == "BUILD"
    assert statuses(store)["port"] == "DOWN"
    report(store, "c1", ("port", "port", "l2", "ok"))
    assert statuses(store)["port"] == statuses(store)["vm"] == "ACTIVE"


def test_a_new_object_needs_no_second_write(store: Store) -> None:
    new = [
        ("port", "port"),
        ("port", "leg"),
        ("port", "fipport"),
        ("router", "router"),
        ("floatingip", "fip"),
    ]
    with store.writer() as w:
        # As `compute` leaves it: the server's own status is written when it is made.
        w.set_api_status(Server, "vm", "BUILD")
    with store.reader() as reader:
        assert not status.differences(reader, new)


def test_what_another_host_says_does_not_count(store: Store) -> None:
    report(store, "c2", ("port", "port", "l2", "ok"))
    assert statuses(store)["port"] == "DOWN"


def test_an_instance_that_fails_is_a_fault_until_it_runs(store: Store) -> None:
    report(store, "c1", ("port", "port", "l2", "ok"), ("server", "vm", "instance", "error"))
    assert statuses(store)["vm"] == "ERROR"
    with store.reader() as r:
        server = r.get(Server, "vm")
    assert server is not None and server.fault == {"code": 500, "message": "why"}
    revision = server.revision_number
    report(store, "c1", ("server", "vm", "instance", "error"))
    with store.reader() as r:
        server = r.get(Server, "vm")
    assert server is not None and server.revision_number == revision
    report(store, "c1", ("server", "vm", "instance", "ok"))
    with store.reader() as r:
        server = r.get(Server, "vm")
    assert server is not None and server.fault is None
    assert statuses(store)["vm"] == "ACTIVE"


def test_a_router_and_its_floating_ip_follow_the_routers_host(store: Store) -> None:
    report(store, "n1", ("port", "leg", "l2", "ok"), ("floatingip", "fip", "l3", "ok"))
    assert statuses(store)["leg"] == statuses(store)["fip"] == "ACTIVE"
    report(store, "n1", ("router", "router", "l3", "error"))
    assert statuses(store)["router"] == "ERROR"
    with store.writer() as w:
        fip = w.get(FloatingIP, "fip")
        assert fip is not None
        w.update(
            FloatingIP(
                id="fip",
                floating_network_id="ext",
                floating_ip_address="192.0.2.9",
                floating_port_id="fipport",
                revision_number=fip.revision_number,
            )
        )
        status.refresh(w, {("floatingip", "fip")})
    assert statuses(store)["fip"] == "DOWN"


def test_of_two_replicas_one_is_enough(store: Store) -> None:
    with store.writer() as w:
        router = w.get(Router, "router")
        assert router is not None
        w.update(replace(router, replicas=(Replica("n1", 50), Replica("n2", 49))))
        assert [w.count(Router, host=name) for name in ("n1", "n2", "")] == [1, 1, 0]
    report(store, "n1", ("port", "leg", "l2", "error"), ("floatingip", "fip", "l3", "error"))
    assert statuses(store)["leg"] == statuses(store)["fip"] == "DOWN"
    report(store, "n2", ("port", "leg", "l2", "ok"), ("floatingip", "fip", "l3", "ok"))
    assert statuses(store)["leg"] == statuses(store)["fip"] == "ACTIVE"
    report(store, "n1", ("router", "router", "l3", "error"))
    assert statuses(store)["router"] == "ACTIVE"
    report(store, "n2", ("router", "router", "l3", "error"), ("port", "leg", "l2", "error"))
    assert statuses(store)["router"] == statuses(store)["leg"] == "ERROR"


def test_a_port_that_moves_is_down_until_its_new_host_has_it(store: Store) -> None:
    report(store, "c1", ("port", "port", "l2", "ok"))
    for host, wanted in (("c2", "DOWN"), ("c1", "DOWN")):
        with store.writer() as w:
            port = w.get(Port, "port")
            assert port is not None
            w.update(
                Port(
                    id="port",
                    network_id="net",
                    mac_address=port.mac_address,
                    host=host,
                    device_id="vm",
                    device_owner="compute:nova",
                    revision_number=port.revision_number,
                )
            )
            status.refresh(w, {("port", "port")})
        assert statuses(store)["port"] == wanted, host


def power(store: Store, wanted: str) -> int:
    """The user switches the server on or off; returns the change that does it."""
    with store.writer() as w:
        server = w.get(Server, "vm")
        assert server is not None
        servers.set_power(w, server, wanted)
    with store.reader() as r:
        seq = r.seq()
        server = r.get(Server, "vm")
        assert server is not None and server.power_seq == seq
    follow(store)
    return seq


def follow(store: Store) -> None:
    """As the feed does after every change."""
    with store.writer() as w:
        status.refresh(w, {("server", "vm")})


def applied(store: Store, seq: int) -> None:
    with store.writer() as w:
        w.heartbeat("c1", 1.0, seq)


def test_a_server_is_what_it_was_until_its_host_has_switched_it(store: Store) -> None:
    with store.writer() as w:
        w.put_host("c1", secret_hash="x")
    report(store, "c1", ("port", "port", "l2", "ok"), ("server", "vm", "instance", "ok"))
    off = power(store, "off")
    assert statuses(store)["vm"] == "ACTIVE"  # what was reported is of before
    applied(store, off)
    report(store, "c1", ("server", "vm", "instance", "pending"))
    assert statuses(store)["vm"] == "ACTIVE"
    report(store, "c1", ("server", "vm", "instance", "ok"))
    assert statuses(store)["vm"] == "SHUTOFF"
    on = power(store, "on")
    assert statuses(store)["vm"] == "SHUTOFF"
    applied(store, on)
    report(store, "c1", ("server", "vm", "instance", "pending"))
    assert statuses(store)["vm"] == "SHUTOFF"
    report(store, "c1", ("server", "vm", "instance", "ok"))
    assert statuses(store)["vm"] == "ACTIVE"
    # Off and on again before the host heard of either: it has nothing to report but how far it is.
    power(store, "off")
    seq = power(store, "on")
    assert statuses(store)["vm"] == "ACTIVE"
    applied(store, seq)
    follow(store)
    assert statuses(store)["vm"] == "ACTIVE"


def reboot(store: Store, gently: bool = True) -> int:
    with store.writer() as w:
        server = w.get(Server, "vm")
        assert server is not None
        servers.reboot(w, server, gently)
    with store.reader() as r:
        seq = r.seq()
    follow(store)
    return seq


def test_a_reboot_ends_when_the_host_has_started_the_instance_anew(store: Store) -> None:
    well = (("port", "port", "l2", "ok"), ("server", "vm", "instance", "ok"))
    report(store, "c1", *well)
    with pytest.raises(Conflict, match="vm_state stopped"):
        stopped = power(store, "off")
        applied(store, stopped)
        report(store, "c1", ("server", "vm", "instance", "ok"))
        reboot(store)
    hard = reboot(store, gently=False)  # which is for a stopped server too
    assert statuses(store)["vm"] == "HARD_REBOOT"
    applied(store, hard)
    report(store, "c1", *well)
    assert statuses(store)["vm"] == "ACTIVE"
    soft = reboot(store)
    assert statuses(store)["vm"] == "REBOOT"
    with pytest.raises(Conflict, match="task_state rebooting"):
        reboot(store)
    report(store, "c1", *well)
    assert statuses(store)["vm"] == "REBOOT", "that is of the start before"
    applied(store, soft)
    report(store, "c1", ("server", "vm", "instance", "pending"), ("port", "port", "l2", "pending"))
    assert (statuses(store)["vm"], statuses(store)["port"]) == ("REBOOT", "DOWN")
    report(store, "c1", ("server", "vm", "instance", "ok"))
    assert statuses(store)["vm"] == "REBOOT", "its card is not there yet"
    report(store, "c1", ("port", "port", "l2", "ok"))
    assert statuses(store)["vm"] == "ACTIVE"
    # A start that fails is an error; a hard reboot is the way out of it.
    applied(store, reboot(store))
    report(store, "c1", ("server", "vm", "instance", "error"))
    assert statuses(store)["vm"] == "ERROR"
    hard = reboot(store, gently=False)
    assert statuses(store)["vm"] == "HARD_REBOOT"
    applied(store, hard)
    report(store, "c1", *well)
    assert statuses(store)["vm"] == "ACTIVE"


def fault(store: Store) -> str:
    with store.reader() as r:
        server = r.get(Server, "vm")
    assert server is not None
    return (server.fault or {}).get("message", "")


def test_a_server_is_not_active_while_the_link_of_a_card_is_down(store: Store) -> None:
    report(store, "c1", ("port", "port", "l2", "ok"), ("server", "vm", "instance", "ok"))
    report(store, "c1", ("port", "port", "l2", "pending"))
    assert (statuses(store)["port"], statuses(store)["vm"]) == ("DOWN", "BUILD")
    report(store, "c1", ("port", "port", "l2", "error"))
    assert (statuses(store)["port"], statuses(store)["vm"]) == ("ERROR", "ERROR")
    assert fault(store) == "port port: why"
    report(store, "c1", ("port", "port", "l2", "ok"))
    assert (statuses(store)["port"], statuses(store)["vm"]) == ("ACTIVE", "ACTIVE")
    assert fault(store) == ""
    # At once in ERROR, and what another host says of the port is no matter of the server's.
    report(store, "c2", ("port", "port", "l2", "error"))
    assert statuses(store)["vm"] == "ACTIVE"
    report(store, "c1", ("port", "port", "l2", "error"))
    assert statuses(store)["vm"] == "ERROR"


def test_a_router_s_port_is_down_where_one_part_of_it_is(store: Store) -> None:
    report(store, "n1", ("port", "leg", "l2", "ok"), ("port", "leg", "l3", "ok"))
    assert statuses(store)["leg"] == "ACTIVE"
    report(store, "n1", ("port", "leg", "l2", "pending"))
    assert statuses(store)["leg"] == "DOWN"


def test_a_port_that_its_user_switches_off_is_no_trouble_of_the_server(store: Store) -> None:
    report(store, "c1", ("port", "port", "l2", "ok"), ("server", "vm", "instance", "ok"))
    with store.writer() as w:
        port = w.get(Port, "port")
        assert port is not None
        w.update(replace(port, admin_state_up=False))
        status.refresh(w, {("port", "port")})
    assert (statuses(store)["port"], statuses(store)["vm"]) == ("DOWN", "ACTIVE")


def test_a_port_that_says_it_is_a_server_s_does_not_hold_up_that_server(store: Store) -> None:
    with store.writer() as w:
        for number, more in enumerate(({"host": "c1"}, {"host": "c2"}, {}), start=10):
            w.insert(
                Port(
                    id=f"evil{number}",
                    network_id="net",
                    mac_address=f"fa:16:3e:00:00:{number}",
                    device_id="vm",
                    device_owner="compute:nova",
                    **more,
                )
            )
    report(store, "c1", ("port", "port", "l2", "ok"), ("server", "vm", "instance", "ok"))
    assert statuses(store)["vm"] == "ACTIVE"
    report(store, "c1", ("port", "evil10", "l2", "error"))
    assert statuses(store)["vm"] == "ACTIVE"
    # And one that compute gave it is its own whatever it says.
    with store.writer() as w:
        port = w.get(Port, "port")
        assert port is not None
        w.update(replace(port, device_id="other", device_owner=""))
    report(store, "c1", ("port", "port", "l2", "error"))
    assert statuses(store)["vm"] == "ERROR"
