"""explain beside reality: what it says of a running lab is what packets from outside find there."""

from __future__ import annotations

from typing import Any

import pytest

from netloom.lab.client import Client
from tests.support.pings import answered
from tests.support.running_lab import RunningLab

pytestmark = [pytest.mark.root, pytest.mark.slow]

NETWORKING = "/networking/v2.0"


class Cloud:
    """One private network with a router, an instance and a floating IP, made through the API."""

    def __init__(self, lab: RunningLab, client: Client) -> None:
        self.lab, self.client = lab, client
        self.made: list[str] = []
        self.gone: frozenset[str] = frozenset()
        public = client.get(f"{NETWORKING}/networks", name="public")["networks"][0]["id"]
        self.network = self.make("network", name="ex-net")["id"]
        self.subnet = self.make(
            "subnet", network_id=self.network, cidr="10.77.0.0/24", ip_version=4
        )["id"]
        gateway = {"network_id": public}
        self.router = self.make("router", name="ex-router", external_gateway_info=gateway)["id"]
        self.group = self.make("security_group", name="ex-group")["id"]
        self.rule = self.allow("icmp")
        self.floating = self.make("floatingip", floating_network_id=public)

    def make(self, kind: str, **values: Any) -> dict[str, Any]:
        path = f"{NETWORKING}/{kind.replace('_', '-')}s"
        made = self.client.post(path, {kind: values})[kind]
        self.made.append(f"{path}/{made['id']}")
        return made

    def allow(self, protocol: str) -> str:
        values = {"security_group_id": self.group, "direction": "ingress", "protocol": protocol}
        return self.make("security_group_rule", **values)["id"]

    def boot(self) -> str:
        images = self.client.get("/image/v2/images")["images"]
        flavors = self.client.get("/compute/v2.1/flavors")["flavors"]
        port = self.make("port", network_id=self.network, security_groups=[self.group])["id"]
        server = {
            "name": "ex-vm",
            "imageRef": next(image["id"] for image in images if image["name"] == "small"),
            "flavorRef": next(flavor["id"] for flavor in flavors if flavor["name"] == "m1.tiny"),
            "networks": [{"port": port}],
        }
        ident = self.client.post("/compute/v2.1/servers", {"server": server})["server"]["id"]
        self.made.append(f"/compute/v2.1/servers/{ident}")
        return ident

    def status(self, server: str) -> str:
        return self.client.get(f"/compute/v2.1/servers/{server}")["server"]["status"]

    def says(self, verdict: str, words: str = "") -> None:
        """Wait until explain says so of a ping from outside, and see that a ping agrees."""
        answer: dict[str, Any] = {}

        def agrees() -> bool:
            answer.update(self.client.get("/explain/v1", source="outside", destination="ex-vm"))
            return answer["verdict"] == verdict

        self.lab.until(agrees, 30, f"explain says {answer}")
        assert words in answer["sentence"]
        address = self.floating["floating_ip_address"]

        def outside(*words: str) -> str:
            said = self.lab.exec("outside", *words, check=False)
            return "" if "DIFFERENT" in said else said

        if verdict == "reachable":
            # An instance is ACTIVE when it runs; it asks for its address then.
            self.lab.until(
                lambda: answered(outside, address, count=2), 30, f"not so: {answer['sentence']}"
            )
        else:
            assert not answered(outside, address, count=2), answer["sentence"]

    def clean(self) -> None:
        for path in reversed(self.made):
            if "/servers/" in path:
                self.client.delete(path)
                self.lab.until(lambda path=path: path.rpartition("/")[2] not in self.servers(), 30)
        for path in reversed(self.made):
            if "/servers/" not in path and path.rpartition("/")[2] not in self.gone:
                self.client.delete(path)

    def servers(self) -> set[str]:
        return {server["id"] for server in self.client.get("/compute/v2.1/servers")["servers"]}


def test_explain_agrees_with_packets(lab: RunningLab) -> None:
    with lab.client() as client:
        cloud = Cloud(lab, client)
        server = cloud.boot()
        client.put(
            f"{NETWORKING}/routers/{cloud.router}/add_router_interface", {"subnet_id": cloud.subnet}
        )
        try:
            lab.until(lambda: cloud.status(server) == "ACTIVE", 60, "the instance does not start")
            cloud.says("unreachable", "leads to no port")
            port = client.get(f"{NETWORKING}/ports", device_id=server)["ports"][0]["id"]
            floating = f"{NETWORKING}/floatingips/{cloud.floating['id']}"
            client.put(floating, {"floatingip": {"port_id": port}})
            cloud.says("reachable")
            client.delete(f"{NETWORKING}/security-group-rules/{cloud.rule}")
            cloud.gone = frozenset({cloud.rule})
            cloud.says("unreachable", "No rule of security group ex-group lets icmp in")
            cloud.allow("icmp")
            cloud.says("reachable")
            client.put(f"{NETWORKING}/ports/{port}", {"port": {"admin_state_up": False}})
            cloud.says("unreachable", "administratively down")
            client.put(f"{NETWORKING}/ports/{port}", {"port": {"admin_state_up": True}})
            client.put(
                f"{NETWORKING}/routers/{cloud.router}", {"router": {"admin_state_up": False}}
            )
            cloud.says("unreachable", "Router ex-router is administratively down")
            client.put(f"{NETWORKING}/routers/{cloud.router}", {"router": {"admin_state_up": True}})
            cloud.says("reachable")
            client.put(floating, {"floatingip": {"port_id": None}})
            cloud.says("unreachable", "No floating IP leads to")
        finally:
            client.put(
                f"{NETWORKING}/floatingips/{cloud.floating['id']}",
                {"floatingip": {"port_id": None}},
            )
            path = f"{NETWORKING}/routers/{cloud.router}/remove_router_interface"
            client.put(path, {"subnet_id": cloud.subnet})
            cloud.clean()
