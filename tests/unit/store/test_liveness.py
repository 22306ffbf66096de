"""What hosts said, in memory and in the database; their credentials, as another process changes them."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from netloom.keeper.loop import write_liveness
from netloom.model import HostFacts
from netloom.model.errors import UserError
from netloom.store import Store, credentials
from netloom.store.liveness import WANTED_AS_OF


@pytest.fixture
def stores(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[Store, Store]]:
    """The server's store, and that of another process on the same database."""
    monkeypatch.setattr(credentials, "LOOK_SECONDS", 0.0)
    url = f"sqlite:///{tmp_path}/x.db"
    server, other = Store.open(url), Store.open(url)
    server.upgrade()
    with server.writer() as w:
        for name in ("h1", "h2", "h3"):
            w.put_host(name, secret_hash=f"hash of {name}", facts=HostFacts(host=name))
    yield server, other
    server.close()
    other.close()


def seen(store: Store, name: str) -> tuple[float | None, int, int]:
    with store.reader() as r:
        row = r.host(name)
        assert row is not None and row == r.hosts()[name] == r.hosts([name])[name]
        return row.heartbeat_at, row.applied_seq, row.wanted_seq


def test_a_word_counts_at_once_here_and_elsewhere_after_the_next_transaction(
    stores: tuple[Store, Store],
) -> None:
    server, other = stores
    server.liveness.heard("h1", 10.0, 3)
    server.liveness.wanted({"h1": 5}, 7)
    assert seen(server, "h1") == (10.0, 3, 5)
    assert seen(other, "h1") == (None, 0, 0)
    write_liveness(server)
    assert seen(server, "h1") == seen(other, "h1") == (10.0, 3, 5)
    with other.reader() as r:
        row = r.host("h1")
        assert row is not None and row.behind == 2
        assert r.setting(WANTED_AS_OF) == "7"
        before = r.seq()
    # Facts alone say nothing of how far it is.
    server.liveness.heard("h1", 11.0)
    write_liveness(server)
    assert seen(other, "h1") == (11.0, 3, 5)
    with other.reader() as r:
        assert r.seq() == before  # none of it is a change


def test_all_hosts_share_one_transaction_and_without_a_word_there_is_none(
    stores: tuple[Store, Store], monkeypatch: pytest.MonkeyPatch
) -> None:
    server, other = stores
    begun = 0
    real = server.transaction

    def counting():  # type: ignore[no-untyped-def]
        nonlocal begun
        begun += 1
        return real()

    monkeypatch.setattr(server, "transaction", counting)
    write_liveness(server)
    assert begun == 0
    for number, name in enumerate(("h1", "h2", "h3")):
        server.liveness.heard(name, 20.0, number)
    write_liveness(server)
    write_liveness(server)
    assert begun == 1
    assert [seen(other, name)[1] for name in ("h1", "h2", "h3")] == [0, 1, 2]


def test_a_transaction_of_the_hosts_own_that_is_later_stands(stores: tuple[Store, Store]) -> None:
    server, other = stores
    server.liveness.heard("h1", 10.0, 3)
    with server.writer() as w:
        w.heartbeat("h1", 12.0, 4)
    assert seen(server, "h1")[:2] == (12.0, 4)
    write_liveness(server)
    assert seen(server, "h1")[:2] == seen(other, "h1")[:2] == (12.0, 4)
    # One that lost its state begins anew: what it says now counts, not what is more.
    server.liveness.heard("h1", 13.0, 0)
    assert seen(server, "h1")[:2] == (13.0, 0)
    write_liveness(server)
    assert seen(other, "h1")[:2] == (13.0, 0)


def test_what_could_not_be_written_is_written_next_time(
    stores: tuple[Store, Store], monkeypatch: pytest.MonkeyPatch
) -> None:
    server, other = stores
    server.liveness.heard("h1", 10.0, 3)
    server.liveness.heard("h2", 10.0, 3)
    server.liveness.wanted({"h2": 6}, 6)

    def full():  # type: ignore[no-untyped-def]
        raise UserError("the disk is full")

    with monkeypatch.context() as broken:
        broken.setattr(server, "transaction", full)
        with pytest.raises(UserError):
            write_liveness(server)
    server.liveness.heard("h1", 11.0, 4)
    assert seen(server, "h1")[:2] == (11.0, 4)
    write_liveness(server)
    assert seen(other, "h1")[:2] == (11.0, 4)
    assert seen(other, "h2") == (10.0, 3, 6)


def test_a_clock_that_is_set_moves_what_is_in_memory_as_well(stores: tuple[Store, Store]) -> None:
    server, other = stores
    server.liveness.heard("h1", 100.0, 1)
    server.liveness.heard("h2", 1098.9, 1)  # after the clock was set
    with server.writer() as w:
        w.move_heartbeats(1000.0, 1099.0, 2.0)
    assert seen(server, "h1")[0] == 1100.0 and seen(server, "h2")[0] == 1098.9
    write_liveness(server)
    assert seen(other, "h1")[0] == 1100.0


def test_an_old_secret_ends_with_the_commit_of_another_process(
    stores: tuple[Store, Store],
) -> None:
    server, other = stores
    of = server.credentials.of
    assert of("h1") == "hash of h1" and of("nobody") is None
    with other.writer() as w:
        w.put_host("h1", secret_hash="new")
        w.put_host("h4", secret_hash="hash of h4")
        w.delete_host("h2")
        assert of("h1") == "hash of h1"  # not before the commit
    assert [of(name) for name in ("h1", "h2", "h4")] == ["new", None, "hash of h4"]
    # By this process as well.
    with server.writer() as w:
        w.delete_host("h4")
    assert of("h4") is None


def test_credentials_are_read_again_only_where_one_changed(
    stores: tuple[Store, Store], monkeypatch: pytest.MonkeyPatch
) -> None:
    server, other = stores
    assert server.credentials.of("h1")
    read = list[str]()
    real = server.credentials._reader

    def counting():  # type: ignore[no-untyped-def]
        read.append("a transaction")
        return real()

    monkeypatch.setattr(server.credentials, "_reader", counting)
    for _ in range(50):
        assert server.credentials.of("h1") and server.credentials.of("h3")
    assert read == []
    with other.writer() as w:
        w.put_host("h1", facts=HostFacts(host="h1", tunnel_ip="192.0.2.9"))
    hashes = server.credentials._hashes
    assert server.credentials.of("h1") and server.credentials.of("h2")
    assert len(read) == 1 and server.credentials._hashes is hashes  # the revision alone


def test_what_a_host_with_another_credential_said_is_forgotten(
    stores: tuple[Store, Store],
) -> None:
    server, other = stores
    assert server.credentials.of("h1")
    server.liveness.heard("h1", 10.0, 30)
    server.liveness.heard("h2", 10.0, 30)
    with other.writer() as w:
        w.delete_host("h1")
        w.put_host("h1", secret_hash="another machine")
    assert server.credentials.of("h1") == "another machine"
    assert seen(server, "h1") == (None, 0, 0) and seen(server, "h2")[:2] == (10.0, 30)
    write_liveness(server)
    assert seen(other, "h1") == (None, 0, 0)


def test_who_ends_tunnels_at_an_address_is_found_without_decoding_facts(
    stores: tuple[Store, Store],
) -> None:
    server, _ = stores
    with server.writer() as w:
        for name in ("h3", "h1"):
            w.put_host(name, facts=HostFacts(host=name, tunnel_ip="192.0.2.1"))
        w.put_host("h2", facts=HostFacts(host="h2", tunnel_ip="192.0.2.2"))
    with server.reader() as r:
        assert r.hosts_with_tunnel_ip("192.0.2.1") == ["h1", "h3"]
        assert r.hosts_with_tunnel_ip("192.0.2.7") == []


def test_credentials_that_were_looked_at_just_now_are_not_looked_at_again(
    stores: tuple[Store, Store], monkeypatch: pytest.MonkeyPatch
) -> None:
    server, other = stores
    now = [100.0]
    monkeypatch.setattr(credentials, "LOOK_SECONDS", 0.02)
    monkeypatch.setattr(credentials.time, "monotonic", lambda: now[0])
    assert server.credentials.of("h1") == "hash of h1"
    with other.writer() as w:
        w.put_host("h1", secret_hash="new")
    assert server.credentials.of("h1") == "hash of h1"
    now[0] += 0.03
    assert server.credentials.of("h1") == "new"
