"""What one request costs, counted: statements, commits, and how often a token's user is read."""

from __future__ import annotations

import asyncio
import threading
import uuid
from collections.abc import Callable
from typing import Any

import httpx
import pytest
from msgspec.structs import replace

from netloom.identity import tokens as tokens_module
from netloom.identity.tokens import Tokens
from netloom.model.cloud import Domain, Project, Role, RoleAssignment, User
from netloom.model.errors import Unauthorized
from netloom.server.front import new_id
from netloom.store import Store
from tests.support.networking import Cloud
from tests.support.statements import trace

BEGIN_AND_END = 2


@pytest.fixture
def network(cloud: Cloud) -> str:
    made = cloud.member.make("network")["id"]
    cloud.member.make("subnet", network_id=made, ip_version=4, cidr="10.0.0.0/20")
    cloud.member.make("port", network_id=made)  # and with it the project's default group
    return made


def counted(connections: Any, work: Callable[[], Any]) -> list[str]:
    seen: list[str] = []
    trace(connections, seen.append)
    work()
    trace(connections, None)
    return seen


def test_a_show_reads_the_port_its_network_and_who_shares_it(cloud: Cloud, network: str) -> None:
    port = cloud.member.make("port", network_id=network)["id"]
    seen = counted(cloud.store._readers, lambda: cloud.member("GET", f"/ports/{port}"))
    assert len(seen) <= BEGIN_AND_END + 3, seen


def test_a_create_reads_each_thing_once(cloud: Cloud, network: str) -> None:
    seen = counted(cloud.store._writers, lambda: cloud.member.make("port", network_id=network))
    ours = [text for text in seen if not text.startswith("--")]  # SQLite's own are its foreign keys
    reads = [text for text in ours if text.startswith("SELECT")]
    # Newest change, network, shared networks, default group, quota, tally, subnets.
    assert len(reads) <= 7, reads
    assert len(set(reads)) == len(reads)
    # Three claims; the port, the project's tally, three links, an address, the change.
    assert len([text for text in ours if text.startswith("INSERT")]) <= 10
    # The first write of a commit is undone with it: no savepoint.
    assert not any("SAVEPOINT" in text for text in ours)


def test_an_update_reads_the_port_once(cloud: Cloud, network: str) -> None:
    port = cloud.member.make("port", network_id=network)["id"]
    body = {"port": {"name": "new"}}
    seen = counted(cloud.store._writers, lambda: cloud.member("PUT", f"/ports/{port}", body))
    assert (
        len([text for text in seen if text.startswith("SELECT resource.doc") and port in text]) == 1
    )


def test_creates_that_come_together_share_commits(
    cloud: Cloud, network: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    # However busy the machine is.
    monkeypatch.setattr("netloom.store.committer.LONGEST_SECONDS", 60)
    given, go = threading.Semaphore(0), threading.Event()
    put = cloud.services.writer._queue.put

    class Counting:
        """The writer's queue, which tells of what is put into it."""

        def __init__(self, queue: Any) -> None:
            self._queue = queue
            self.get, self.get_nowait = queue.get, queue.get_nowait

        def put(self, item: Any) -> None:
            put(item)
            given.release()

    async def eight() -> list[httpx.Response]:
        transport = httpx.ASGITransport(app=cloud.app)
        client = httpx.AsyncClient(transport=transport, base_url="http://cloud:9696")
        async with client:
            creates = [
                client.post(
                    "/networking/v2.0/ports",
                    json={"port": {"network_id": network}},
                    headers=cloud.member.headers,
                )
                for _ in range(8)
            ]
            return await asyncio.gather(*creates)

    def release() -> None:
        for _ in range(8):
            assert given.acquire(timeout=30)
        go.set()

    first = cloud.services.writer.submit(lambda _: go.wait(60))
    cloud.services.writer._queue = Counting(cloud.services.writer._queue)  # type: ignore[assignment]
    releasing = threading.Thread(target=release)
    releasing.start()
    answers: list[httpx.Response] = []
    seen = counted(cloud.store._writers, lambda: answers.extend(asyncio.run(eight())))
    releasing.join()
    first.result(10)
    assert [answer.status_code for answer in answers] == [201] * 8
    # They come with the write that held the writer, or in the next commit.
    assert len([text for text in seen if text == "COMMIT"]) <= 1
    addresses = {each.json()["port"]["fixed_ips"][0]["ip_address"] for each in answers}
    assert len(addresses) == 8


def bearer(store: Store) -> tuple[User, str]:
    """A user with a role on a project; returns it with the project's id."""
    with store.writer() as w:
        w.insert(Domain(id="default", name="Default"))
        w.insert(Project(id="p", name="p", domain_id="default"))
        w.insert(Role(id="r", name="member"))
        user = w.insert(User(id="u", name="u", domain_id="default", password_hash=""))
        w.insert(
            RoleAssignment(id="a", user_id="u", role_id="r", scope_kind="project", scope_id="p")
        )
    return user, "p"


def test_a_token_is_read_once_in_a_moment_and_ends_at_once(tmp_path: Any) -> None:
    store = Store.open(f"sqlite:///{tmp_path}/t.db")
    store.upgrade()
    user, project = bearer(store)
    passed = [0.0]
    tokens = Tokens(b"k" * 32, 3600, passed=lambda: passed[0])
    token, _ = tokens.issue(user, "project", project, ("password",))
    assert tokens.caller(store, token).roles == {"member"}

    assert counted(store._readers, lambda: tokens.caller(store, token)) == []
    passed[0] += tokens_module.NEW_SECONDS
    assert counted(store._readers, lambda: tokens.caller(store, token)) != []

    # Another object's change is no reason to read the user again; a change of the user ends the token.
    with store.writer() as w:
        w.insert(Project(id="q", name="q", domain_id="default"))
    assert counted(store._readers, lambda: tokens.caller(store, token)) == []
    with store.writer() as w:
        found = w.get(User, "u")
        assert found is not None
        w.update(replace(found, epoch=found.epoch + 1))
    with pytest.raises(Unauthorized):
        tokens.caller(store, token)
    store.close()


def test_a_requests_id_is_a_uuid() -> None:
    ids = {new_id() for _ in range(1000)}
    assert len(ids) == 1000
    assert all(uuid.UUID(each.removeprefix("req-")).version == 4 for each in ids)
