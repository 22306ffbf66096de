"""Writes that wait for the writer share one durable commit; each is all or nothing, and told only once it is durable."""

from __future__ import annotations

import threading
from concurrent.futures import Future
from pathlib import Path
from typing import Any

import pytest

from netloom.model import Network
from netloom.store import Committer, Exists, Store, Writer
from netloom.store import committer as committing
from tests.support.statements import trace


@pytest.fixture
def store(tmp_path: Path):
    opened = Store.open(f"sqlite:///{tmp_path}/x.db")
    opened.upgrade()
    yield opened
    opened.close()


@pytest.fixture
def committer(store: Store):
    made = Committer(store)
    yield made
    made.stop()


def commits(store: Store) -> list[str]:
    """A list that grows by each COMMIT, savepoints' releases left out."""
    seen: list[str] = []
    trace(store._writers, lambda text: text == "COMMIT" and seen.append(text))
    return seen


def held(committer: Committer, works: list[Any]) -> list[Future[Any]]:
    """Give works while the writer is busy with one that ends when all of them wait."""
    go = threading.Event()
    first = committer.submit(lambda _: go.wait(10))
    futures = [committer.submit(work) for work in works]
    go.set()
    first.exception(10)
    return futures


def make(id: str):
    return lambda w: w.insert(Network(id=id)).id


def ids(store: Store) -> list[str]:
    with store.reader() as reader:
        return [network.id for network in reader.list(Network)]


def test_those_that_wait_share_a_commit(
    store: Store, committer: Committer, monkeypatch: pytest.MonkeyPatch
) -> None:
    # However busy the machine is.
    monkeypatch.setattr("netloom.store.committer.LONGEST_SECONDS", 60)
    seen = commits(store)
    futures = held(committer, [make(f"n{number}") for number in range(20)])
    assert [future.result(10) for future in futures] == [f"n{number}" for number in range(20)]
    # One for the work that held the writer, and what waited came with it or in the next.
    assert len(seen) <= 2
    with store.reader() as reader:
        assert [change.seq for change in reader.changes(0, 100)] == list(range(1, 21))


def test_one_that_is_refused_leaves_nothing_and_the_others_stay(
    store: Store, committer: Committer
) -> None:
    def half(w: Writer) -> None:
        w.insert(Network(id="half"))
        w.insert(Network(id="a"))

    good, bad, last = held(committer, [make("a"), half, make("b")])
    assert good.result(10) == "a" and last.result(10) == "b"
    with pytest.raises(Exists):
        bad.result(10)
    assert ids(store) == ["a", "b"]
    with store.reader() as reader:
        assert [(change.seq, change.id) for change in reader.changes(0, 10)] == [(1, "a"), (2, "b")]


def test_nobody_is_told_before_the_commit_is_durable(store: Store, committer: Committer) -> None:
    """Where the transaction ends by itself (a full disk), all that waited for its commit are told of the failure."""

    def disk_full(w: Writer) -> None:
        w._session.connection.rollback()
        raise OSError("database or disk is full")

    futures = held(committer, [make("a"), disk_full, make("b")])
    assert [type(future.exception(10)) for future in futures[:2]] == [OSError, OSError]
    # What had not begun gets a transaction of its own.
    assert futures[2].result(10) == "b"
    assert ids(store) == ["b"]


def test_a_write_that_nobody_waits_for_any_more_is_not_begun(
    store: Store, committer: Committer
) -> None:
    go = threading.Event()
    first = committer.submit(lambda _: go.wait(10))
    gone = committer.submit(make("gone"))
    assert gone.cancel()
    go.set()
    first.result(10)
    assert committer.submit(make("n")).result(10) == "n"
    assert ids(store) == ["n"]


def test_what_was_given_is_finished_at_the_end(store: Store) -> None:
    committer = Committer(store)
    futures = [committer.submit(make(f"n{number}")) for number in range(5)]
    committer.stop()
    assert all(future.done() for future in futures) and len(ids(store)) == 5


def test_the_thread_ends_also_where_its_last_commit_fails(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The word to stop is taken within a transaction; where its commit fails, nobody gives the word again."""
    monkeypatch.setattr(committing, "LONGEST_SECONDS", 60)

    class Full:
        """A connection that does all but commit."""

        def __init__(self, connection: Any) -> None:
            self._connection = connection

        def __getattr__(self, name: str) -> Any:
            return getattr(self._connection, name)

        def commit(self) -> None:
            raise OSError("database or disk is full")

    def last(w: Writer) -> None:
        w.insert(Network(id="last"))
        w._session.connection = Full(w._session.connection)

    committer = Committer(store)
    go = threading.Event()
    committer.submit(lambda _: go.wait(10))
    told = committer.submit(last)
    # As stop() does, which waits for the thread besides.
    committer._queue.put(None)
    go.set()
    assert isinstance(told.exception(10), OSError)
    committer._thread.join(10)
    assert not committer._thread.is_alive()
    assert ids(store) == []
