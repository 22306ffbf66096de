"""What hosts cost the server that have nothing to say: counted in the server's own process."""

from __future__ import annotations

import asyncio
import threading
import time
from collections import Counter
from collections.abc import Callable, Coroutine, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import msgspec
import pytest

from netloom.api.hosts import wake
from netloom.api.services import Services
from netloom.identity.tokens import Tokens
from netloom.model import Away, Flavor, HostFacts, Network, Port, Server, Status
from netloom.model.credentials import secret_hash
from netloom.model.hosts import HEARTBEAT_HEADER
from netloom.model.server_settings import ServerSettings, Settings
from netloom.server.process import _Process
from netloom.server.sockets import listen
from netloom.store import Store
from netloom.store.session import Session
from tests.support.serving import free_port

ADMIN = {"X-Roles": "admin,member,reader", "X-Project-Id": "a" * 32}


class Inside:
    """A server in this process, and a count of what its threads ask the database for."""

    def __init__(self, services: Services, url: str) -> None:
        self.services, self.url = services, url
        self.transactions = 0
        self.statements: Counter[str] = (
            Counter()
        )  # by thread: "host", "writer", "keeper", "feed_watch" …

    @property
    def store(self) -> Store:
        return self.services.store

    def path(self, host: str, tail: str) -> str:
        return f"{self.url}/agent/v1/hosts/{host}/{tail}"


def host_facts(number: int) -> HostFacts:
    return HostFacts(host=f"c{number}", tunnel_ip=f"192.0.2.{number + 1}")


@contextmanager
def inside(folder: Path, hosts: int, monkeypatch: pytest.MonkeyPatch) -> Iterator[Inside]:
    folder.mkdir(exist_ok=True)
    store = Store.open(f"sqlite:///{folder}/netloom.db")
    store.upgrade()
    with store.writer() as w:
        w.insert(Network(id="n"))
        w.insert(Port(id="there", network_id="n", mac_address="fa:16:3e:00:00:01", host="c0"))
        for number in range(hosts):
            w.put_host(f"c{number}", secret_hash=secret_hash(f"c{number}"))
    server = ServerSettings(
        listen=f"127.0.0.1:{free_port()}", state_dir=str(folder), auth="trusted-headers"
    )
    settings = Settings(server=server)
    tokens = Tokens.open(folder, settings.identity.token_seconds)
    services = Services.start(store, settings, tokens, Away())
    found = Inside(services, f"http://{server.listen}")

    real = store.transaction

    def transaction():  # type: ignore[no-untyped-def]
        found.transactions += 1
        return real()

    ready = Session._ready

    def counted(self: Session, statement: Any, values: Any) -> Any:
        found.statements[threading.current_thread().name.partition("_")[0]] += 1
        return ready(self, statement, values)

    with monkeypatch.context() as patched:
        patched.setattr(store, "transaction", transaction)
        patched.setattr(Session, "_ready", counted)
        process = _Process(services, server)
        sockets = listen(server)
        running = threading.Thread(target=lambda: asyncio.run(process.serve(sockets)), name="loop")
        running.start()
        try:
            deadline = time.monotonic() + 60
            while not process.started:
                assert time.monotonic() < deadline and running.is_alive()
                time.sleep(0.02)
            yield found
        finally:
            process.should_exit = True
            running.join(30)
            services.feed.stop()
            services.feed.join()
            services.stop()
            store.close()
    assert not running.is_alive()


Work = Callable[[httpx.AsyncClient], Coroutine[Any, Any, None]]


async def with_streams(server: Inside, hosts: int, work: Work) -> None:
    """Do `work` while every host has told its facts and streams."""
    limits = httpx.Limits(max_connections=2 * hosts + 10)
    async with httpx.AsyncClient(timeout=60, limits=limits) as client:
        opened = asyncio.Semaphore(0)

        async def listen_to(number: int) -> None:
            path = server.path(f"c{number}", "stream")
            async with client.stream("GET", path, headers=secret(number)) as response:
                assert response.status_code == 200
                async for _ in response.aiter_lines():
                    opened.release()

        for number in range(hosts):
            said = msgspec.json.encode(host_facts(number))
            path = server.path(f"c{number}", "facts")
            answer = await client.put(path, content=said, headers=secret(number))
            assert answer.status_code == 204, answer.text
        tasks = [asyncio.create_task(listen_to(number)) for number in range(hosts)]
        for _ in tasks:
            await asyncio.wait_for(opened.acquire(), 30)
        try:
            await work(client)
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)


def secret(number: int) -> dict[str, str]:
    return {"Authorization": f"Bearer c{number}"}


async def heartbeat(client: httpx.AsyncClient, server: Inside, number: int, applied: int) -> None:
    path = server.path(f"c{number}", "status")
    body = msgspec.json.encode({"applied_seq": applied, "rows": [], "whole": False})
    answer = await client.post(path, content=body, headers=secret(number))
    assert answer.status_code == 204, answer.text


@pytest.mark.parametrize("hosts", [3, 30])
def test_idle_hosts_share_one_transaction_a_second(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, hosts: int
) -> None:
    monkeypatch.setattr(wake, "KEEPALIVE_SECONDS", 0.5)
    with inside(tmp_path, hosts, monkeypatch) as server:

        async def idle(client: httpx.AsyncClient) -> None:
            seq = server.services.scope.seq
            for number in range(hosts):
                await heartbeat(client, server, number, seq)  # the first one says how far it is
            await asyncio.sleep(1.5)
            server.transactions = 0
            server.statements.clear()
            begun = time.monotonic()
            for _ in range(3):
                for number in range(hosts):
                    await heartbeat(client, server, number, seq)
                await asyncio.sleep(0.7)
            seconds = time.monotonic() - begun
            # The keeper's alone, once a second.
            assert 1 <= server.transactions <= seconds + 1.5
            # Heartbeats and keepalives of the streams ask nothing: neither in a thread nor in the loop.
            counted = server.statements
            assert counted["host"] == counted["writer"] == 0, counted
            assert counted["loop"] <= 2 * (seconds + 2), counted  # whether a credential changed

        asyncio.run(with_streams(server, hosts, idle))
        with server.store.reader() as reader:
            rows = reader.hosts()
        assert all(time.time() - (row.heartbeat_at or 0) < 30 for row in rows.values())


def test_a_heartbeat_alone_ends_before_the_machinery_of_a_request(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with inside(tmp_path, 1, monkeypatch) as server:

        async def ask(client: httpx.AsyncClient) -> None:
            seq = server.services.scope.seq
            await heartbeat(client, server, 0, seq)  # the first one says how far it is
            row = Status(kind="port", id="there", aspect="l2", seq=1, state="ok")
            asked: list[tuple[dict[str, Any], dict[str, str], int, bool]] = [
                ({"applied_seq": seq}, secret(0), 204, True),
                ({"applied_seq": seq, "rows": [], "whole": False}, secret(0), 204, True),
                ({"applied_seq": seq, "rows": [row]}, secret(0), 204, False),
                ({"applied_seq": seq, "whole": True}, secret(0), 204, False),
                ({"applied_seq": seq + 1000}, secret(0), 400, False),
                ({"applied_seq": seq, "more": 1}, secret(0), 400, False),
                ({"applied_seq": seq}, secret(1), 401, False),
                ({"applied_seq": seq}, {}, 401, False),
                ({"applied_seq": seq}, secret(0) | {"x-netloom-agent": "w" * 65}, 400, False),
            ]
            for said, headers, code, early in asked:
                path, body = server.path("c0", "status"), msgspec.json.encode(said)
                answer = await client.post(path, content=body, headers=headers)
                assert answer.status_code == code, (said, answer.text)
                assert ("x-openstack-request-id" not in answer.headers) is early, said
            again = [("authorization", "Bearer c0"), ("authorization", "Bearer c0")]
            answer = await client.post(server.path("c0", "status"), content=b"{}", headers=again)
            assert answer.status_code == 400 and "stands twice" in answer.text

        asyncio.run(with_streams(server, 1, ask))


def test_the_stream_says_how_often_an_idle_host_shall_report(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with inside(tmp_path, 1, monkeypatch) as server:

        async def ask() -> str:
            async with (
                httpx.AsyncClient() as client,
                client.stream("GET", server.path("c0", "stream"), headers=secret(0)) as response,
            ):
                return response.headers[HEARTBEAT_HEADER]

        assert asyncio.run(ask()) == "25"


def test_a_change_that_concerns_no_host_costs_hosts_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    hosts = 30
    with inside(tmp_path, hosts, monkeypatch) as server:

        async def change(client: httpx.AsyncClient) -> None:
            seq = server.services.scope.seq
            for number in range(hosts):
                await heartbeat(client, server, number, seq)
            await asyncio.sleep(1.5)
            server.transactions = 0
            server.statements.clear()
            for number in range(10):
                body = {"network": {"name": f"unseen {number}"}}
                path = f"{server.url}/networking/v2.0/networks"
                answer = await client.post(path, json=body, headers=ADMIN)
                assert answer.status_code == 201, answer.text
            await asyncio.sleep(0.3)
            assert server.statements["host"] == 0, server.statements  # no stream was woken
            # Later they say that they are as far as the newest change: nothing comes of it.
            newest = server.services.scope.seq
            assert newest >= seq + 10
            done = server.transactions
            for number in range(hosts):
                await heartbeat(client, server, number, newest)
            assert server.statements["host"] == 0 and server.transactions <= done + 2

        asyncio.run(with_streams(server, hosts, change))


def test_of_many_changes_in_a_row_several_are_looked_at_together(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(wake, "PAUSE_SECONDS", 0.5)
    with inside(tmp_path, 2, monkeypatch) as server:
        looks: list[dict[str, int]] = []
        real = server.services.scope.news

        def news() -> tuple[int, dict[str, int]]:
            seq, stepped = real()
            looks.append(stepped)
            return seq, stepped

        monkeypatch.setattr(server.services.scope, "news", news)

        async def change(client: httpx.AsyncClient) -> None:
            await asyncio.sleep(0.6)
            looks.clear()
            begun = time.monotonic()
            for number in range(30):
                with server.store.writer() as w:
                    w.insert(Network(id=f"unseen-{number}"))
            newest = server.services.scope
            with server.store.reader() as reader:
                seq = reader.seq()
            while newest.seq < seq:
                await asyncio.sleep(0.02)
            assert 1 <= len(looks) <= 2 + (time.monotonic() - begun) / 0.5
            assert not any(looks)

        asyncio.run(with_streams(server, 2, change))


def own_requests(folder: Path, hosts: int, monkeypatch: pytest.MonkeyPatch) -> list[Counter[str]]:
    """Statements of requests of one host beside others, by who had to run them."""
    found: list[Counter[str]] = []
    with inside(folder, hosts, monkeypatch) as server:

        async def own(client: httpx.AsyncClient) -> None:
            rows = [Status(kind="port", id="there", aspect="l2", seq=1, state="ok")]
            seq = server.services.scope.seq
            facts = host_facts(0)
            others = msgspec.structs.replace(facts, started_at="later")
            requests: list[tuple[str, str, object]] = [
                ("PUT", "facts", facts),
                ("PUT", "facts", others),
                ("POST", "status", {"applied_seq": seq, "rows": rows}),
            ]
            for method, tail, said in requests:
                server.statements.clear()
                path, body = server.path("c0", tail), msgspec.json.encode(said)
                answer = await client.request(method, path, content=body, headers=secret(0))
                assert answer.status_code == 204, answer.text
                found.append(
                    Counter({name: server.statements[name] for name in ("host", "writer")})
                )
                await asyncio.sleep(0.3)

        asyncio.run(with_streams(server, hosts, own))
        with server.store.reader() as reader:
            assert reader.api_status(Port, ["there"]) == {"there": "ACTIVE"}
    return found


def test_a_hosts_own_requests_take_as_many_statements_beside_thirty_others(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    counts = {hosts: own_requests(tmp_path / str(hosts), hosts, monkeypatch) for hosts in (2, 30)}
    assert counts[2][:2] == counts[30][:2]
    assert counts[2][0]["writer"] == 0  # the same facts once more
    assert 0 < counts[30][2].total() <= counts[2][2].total() + 1


def test_a_start_that_there_is_nothing_to_report_of_is_decided_when_the_host_has_carried_it_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ident = "5c2f6d6e-0000-4000-8000-000000000001"
    with inside(tmp_path, 2, monkeypatch) as server:

        def state() -> str:
            with server.store.reader() as reader:
                return reader.api_status(Server, [ident])[ident]

        async def restart(client: httpx.AsyncClient) -> None:
            with server.store.writer() as w:
                made = Server(
                    id=ident,
                    user_id="u",
                    image_id="i",
                    flavor=Flavor(id="f"),
                    host="c0",
                    port_ids=(),
                )
                w.insert(made)
                ok = Status(kind="server", id=ident, aspect="instance", seq=1, state="ok")
                w.put_status("c0", [ok])
                w.set_api_status(Server, ident, "HARD_REBOOT")
                before = w.seq()
                w.update(msgspec.structs.replace(made, power_seq=before + 1))
            await heartbeat(client, server, 0, before)
            await heartbeat(client, server, 1, before + 1)  # another one
            assert state() == "HARD_REBOOT"
            await heartbeat(client, server, 0, before + 1)
            assert state() == "ACTIVE"

        asyncio.run(with_streams(server, 2, restart))


def test_a_number_that_is_not_made_yet_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with inside(tmp_path, 1, monkeypatch) as server:
        path = server.path("c0", "status")
        for body in (b'{"applied_seq": 100000}', b'{"applied_seq": 9223372036854775807}'):
            assert httpx.post(path, content=body, headers=secret(0)).status_code == 400
        with server.store.reader() as reader:
            row = reader.host("c0")
        assert row is not None and row.applied_seq == 0
        # Before any stream: how far the feed is the process has to look up.
        assert httpx.post(path, content=b'{"applied_seq": 2}', headers=secret(0)).status_code == 204
        with server.store.reader() as reader:
            row = reader.host("c0")
        assert row is not None and row.applied_seq == 2
