"""What a change costs hosts that it does not concern: nothing but a sequence number, in its time."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path

import httpx

from netloom.model import HostFacts, Network, Port
from netloom.model.credentials import secret_hash
from netloom.store import Store
from tests.support.serving import Serving, serving

HOSTS = 40
CHANGES = 25


def add_hosts(server: Serving) -> None:
    store = Store.open(f"sqlite:///{server.state}/netloom.db")
    with store.writer() as w:
        w.insert(Network(id="n"))
        for number in range(HOSTS):
            name = f"c{number}"
            facts = HostFacts(host=name, tunnel_ip=f"192.0.2.{number + 1}")
            w.put_host(name, secret_hash=secret_hash(name), facts=facts)
        w.insert(Port(id="there", network_id="n", mac_address="fa:16:3e:00:00:01", host="c0"))
    store.close()


async def lines(server: Serving, changes: int) -> dict[str, list[dict[str, object]]]:
    """Stream for every host, carry the changes out, and return the lines of each host after its snapshot."""
    heard: dict[str, list[dict[str, object]]] = {}
    ready = asyncio.Semaphore(0)

    async def stream(name: str, client: httpx.AsyncClient) -> None:
        heard[name] = []
        headers = {"Authorization": f"Bearer {name}"}
        path = f"{server.url}/agent/v1/hosts/{name}/stream"
        async with client.stream("GET", path, headers=headers) as response:
            assert response.status_code == 200
            first = True
            async for line in response.aiter_lines():
                if first:
                    first = False
                    ready.release()
                else:
                    heard[name].append(json.loads(line))

    limits = httpx.Limits(max_connections=HOSTS + 5)
    async with httpx.AsyncClient(timeout=60, limits=limits) as client:
        tasks = [asyncio.create_task(stream(f"c{number}", client)) for number in range(HOSTS)]
        for _ in tasks:
            await ready.acquire()
        user = {"X-Roles": "admin,member,reader", "X-Project-Id": "a" * 32}
        ports = f"{server.url}/networking/v2.0/ports"
        for number in range(changes):
            name = {"port": {"name": f"n{number}"}}
            answer = await client.put(f"{ports}/there", json=name, headers=user)
            assert answer.status_code == 200, answer.text
        deadline = asyncio.get_running_loop().time() + 30
        while not heard["c0"] or upserts(heard["c0"])[-1] != f"n{changes - 1}":
            assert asyncio.get_running_loop().time() < deadline, heard["c0"]
            await asyncio.sleep(0.05)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
    return heard


def upserts(said: list[dict[str, object]]) -> list[str]:
    """The names under which the port came, in order."""
    return [
        port["name"]
        for line in said
        for port in line.get("upsert", {}).get("ports", ())  # type: ignore[union-attr, attr-defined]
    ]


def test_only_the_host_of_the_port_hears_of_it(tmp_path: Path) -> None:
    with serving(tmp_path, 'auth = "trusted-headers"') as server:
        add_hosts(server)
        heard = asyncio.run(lines(server, CHANGES))
    assert upserts(heard.pop("c0"))[-1] == f"n{CHANGES - 1}"
    for name, said in heard.items():
        assert all(line.get("keepalive") and not line.get("upsert") for line in said), name
        # A keepalive every ten seconds, however many changes there are: far fewer than the changes.
        assert len(said) < CHANGES // 2, name
