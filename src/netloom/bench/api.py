"""The API's part of `netloom bench`: the same requests to any endpoint that speaks the Networking API v2.0."""

from __future__ import annotations

import statistics
import time
import uuid
from collections.abc import Callable, Generator, Mapping
from contextlib import contextmanager
from typing import Any

import httpx

from netloom.model.errors import UserError

LISTED = 1000
"""Ports that there are when the whole list is timed."""

BULK = 100


class Endpoint:
    """One server under measurement. `url` is without /v2.0."""

    def __init__(self, url: str, headers: Mapping[str, str]) -> None:
        self._client = httpx.Client(
            base_url=url.rstrip("/") + "/v2.0/", headers=dict(headers), timeout=600, trust_env=False
        )
        self.prefix = f"bench-{uuid.uuid4().hex[:6]}"

    def close(self) -> None:
        """Close the connection."""
        self._client.close()

    def ask(self, method: str, path: str, body: Any = None) -> Any:
        """Send one request; a UserError says what the server refused."""
        try:
            answer = self._client.request(method, path, json=body)
        except httpx.TransportError as error:
            raise UserError(f"{self._client.base_url} does not answer: {error}") from error
        if answer.is_error:
            raise UserError(
                f"{method} {path} was answered {answer.status_code}: {answer.text[:300]}"
            )
        return answer.json() if answer.content else None

    def create(self, kind: str, **attributes: Any) -> Any:
        """Create one object, under a name that tells where it is from."""
        body = {kind: {"name": self.prefix, **attributes}}
        if kind == "floatingip":
            del body[kind]["name"]
        return self.ask("POST", f"{kind}s", body)[kind]


def measure(endpoint: Endpoint, samples: int, say: Callable[[str], None]) -> dict[str, float]:
    """Return each work's median in milliseconds; what was made is removed again."""
    quota = dict.fromkeys(("network", "subnet", "port", "router", "floatingip"), -1)
    with _cleared(endpoint):
        network = endpoint.create("network")
        endpoint.ask("PUT", f"quotas/{network['project_id']}", {"quota": quota})
        return _measured(endpoint, network, samples, say)


def _measured(
    endpoint: Endpoint, network: Any, samples: int, say: Callable[[str], None]
) -> dict[str, float]:
    found: dict[str, float] = {}

    def note(name: str, seconds: list[float]) -> None:
        found[name] = statistics.median(seconds) * 1000
        say(f"  {name}: {found[name]:.1f} ms")

    def timed(name: str, work: Callable[[int], Any], count: int) -> list[Any]:
        seconds: list[float] = []
        made: list[Any] = []
        for number in range(count):
            begun = time.perf_counter()
            made.append(work(number))
            seconds.append(time.perf_counter() - begun)
        note(name, seconds)
        return made

    endpoint.create("subnet", network_id=network["id"], ip_version=4, cidr="10.64.0.0/16")
    endpoint.create("port", network_id=network["id"])
    ports = timed(
        "port create", lambda _: endpoint.create("port", network_id=network["id"]), samples
    )
    timed("port show", lambda n: endpoint.ask("GET", f"ports/{ports[n]['id']}"), samples)
    timed(
        "port update",
        lambda n: endpoint.ask(
            "PUT", f"ports/{ports[n]['id']}", {"port": {"name": endpoint.prefix}}
        ),
        samples,
    )

    few = max(5, samples // 5)
    networks = timed("network create", lambda _: endpoint.create("network"), few)

    def address(number: int) -> Any:
        attributes = {
            "network_id": networks[number]["id"],
            "ip_version": 4,
            "cidr": f"10.{number}.0.0/24",
        }
        return endpoint.create("subnet", **attributes)

    subnets = timed("subnet create", address, few)
    routers = timed("router create", lambda _: endpoint.create("router"), few)

    def plug(number: int) -> Any:
        path = f"routers/{routers[number]['id']}/add_router_interface"
        return endpoint.ask("PUT", path, {"subnet_id": subnets[number]["id"]})

    timed("router add interface", plug, few)
    # Its own segment, so that it is in no other network's way.
    outside = endpoint.create(
        "network", **{"router:external": True, "provider:network_type": "vxlan"}
    )
    endpoint.create(
        "subnet", network_id=outside["id"], ip_version=4, cidr="172.30.0.0/20", enable_dhcp=False
    )
    gateway = {"router": {"external_gateway_info": {"network_id": outside["id"]}}}
    timed(
        "router set gateway",
        lambda n: endpoint.ask("PUT", f"routers/{routers[n]['id']}", gateway),
        few,
    )
    behind = [endpoint.create("port", network_id=each["id"]) for each in networks]
    floating = timed(
        "floating IP create",
        lambda _: endpoint.create("floatingip", floating_network_id=outside["id"]),
        few,
    )

    def associate(number: int) -> Any:
        body = {"floatingip": {"port_id": behind[number]["id"]}}
        return endpoint.ask("PUT", f"floatingips/{floating[number]['id']}", body)

    timed("floating IP associate", associate, few)

    have = len(endpoint.ask("GET", "ports?fields=id")["ports"])
    bulk: list[float] = []
    while have < LISTED:
        count = min(BULK, LISTED - have)
        body = {
            "ports": [{"network_id": network["id"], "name": endpoint.prefix} for _ in range(count)]
        }
        begun = time.perf_counter()
        endpoint.ask("POST", "ports", body)
        if count == BULK:
            bulk.append(time.perf_counter() - begun)
        have += count
    if bulk:
        note(f"{BULK} ports in one POST", bulk)
    timed(f"list {LISTED} ports", lambda _: endpoint.ask("GET", "ports"), 10)
    timed("port delete", lambda n: endpoint.ask("DELETE", f"ports/{ports[n]['id']}"), samples)
    return found


@contextmanager
def _cleared(endpoint: Endpoint) -> Generator[None]:
    """Remove what the run made, also when it failed."""
    try:
        yield
    finally:
        named = f"name={endpoint.prefix}"
        routers = endpoint.ask("GET", f"routers?{named}")["routers"]
        networks = {each["id"] for each in endpoint.ask("GET", f"networks?{named}")["networks"]}
        for floating in endpoint.ask("GET", "floatingips")["floatingips"]:
            if floating["floating_network_id"] in networks:
                endpoint.ask("DELETE", f"floatingips/{floating['id']}")
        for router in routers:
            for port in endpoint.ask("GET", f"ports?device_id={router['id']}")["ports"]:
                if port["device_owner"] == "network:router_interface":
                    path = f"routers/{router['id']}/remove_router_interface"
                    endpoint.ask("PUT", path, {"port_id": port["id"]})
            endpoint.ask("DELETE", f"routers/{router['id']}")
        for port in endpoint.ask("GET", "ports")["ports"]:
            if port["network_id"] in networks and not port["device_owner"].startswith("network:"):
                endpoint.ask("DELETE", f"ports/{port['id']}")
        for network in networks:
            endpoint.ask("DELETE", f"networks/{network}")
