"""Random requests of one project, one after the other, as a person or a program makes them."""

from __future__ import annotations

import random
import threading
import traceback
from collections import Counter
from collections.abc import Callable
from typing import Any

import httpx

N, C = "/networking/v2.0", "/compute/v2.1"
MOST = {
    "networks": 4, "routers": 2, "ports": 8, "security-groups": 4, "floatingips": 4, "servers": 3,
}  # fmt: skip


class Tenant(threading.Thread):
    """One project's requests. `faults`: answers that may never be; refusals (4xx) are part of life.

    `paused` holds it between two requests; `away` says that the server is down on purpose.
    """

    def __init__(self, root: str, name: str, token: str, project: str, seed: str) -> None:
        super().__init__(name=name, daemon=True)
        self.project = project
        self.draw = random.Random(f"{seed} {name}")
        self.http = httpx.Client(base_url=root, timeout=60, trust_env=False)
        self.http.headers["X-Auth-Token"] = token
        self.faults: list[str] = []
        self.answers: Counter[str] = Counter()
        self.go = threading.Event()
        self.idle = threading.Event()
        self.away = threading.Event()
        self.ended = False
        self.image = self.flavor = self.public = ""

    # --- asking ---------------------------------------------------------------------------------

    def ask(self, method: str, path: str, body: Any = None) -> Any:
        """A request; returns its answer's JSON, empty where it was refused."""
        try:
            answer = self.http.request(method, path, json=body)
        except httpx.HTTPError as error:
            if not self.away.is_set():
                self.faults.append(f"{self.name}: {method} {path} {body}: {error!r}")
            return {}
        code = answer.status_code
        self.answers[f"{method} {path.split('/')[3].partition('?')[0]} {code}"] += 1
        if code >= 500 and not (code == 503 and self.away.is_set()):
            said = f"{code} {answer.text[:300]}"
            self.faults.append(f"{self.name}: {method} {path} {body}: {said}")
        return answer.json() if answer.content and code < 300 else {}

    def all(self, collection: str) -> list[dict[str, Any]]:
        """The project's objects."""
        if collection == "servers":
            return self.ask("GET", f"{C}/servers/detail").get("servers", [])
        found = self.ask("GET", f"{N}/{collection}?project_id={self.project}")
        return found.get(collection.replace("-", "_"), [])

    def one(self, collection: str, *, wanted: Callable[[Any], bool] = bool) -> dict[str, Any]:
        """One of them by chance; empty where there is none."""
        # By name: ids differ from run to run.
        found = sorted(filter(wanted, self.all(collection)), key=lambda each: str(each.get("name")))
        return self.draw.choice(found) if found else {}

    def make(self, collection: str, **values: Any) -> dict[str, Any]:
        """Create one, unless there are enough."""
        if len(self.all(collection)) >= MOST.get(collection, 99):
            return {}
        kind = collection.replace("-", "_").removesuffix("s")
        return self.ask("POST", f"{N}/{collection}", {kind: values}).get(kind, {})

    def name_(self) -> str:
        return f"{self.name}-{self.draw.randrange(1 << 30):08x}"

    # --- what is done ---------------------------------------------------------------------------

    def network(self) -> None:
        made = self.make("networks", name=self.name_())
        if made:
            cidr = f"10.{self.draw.randrange(20, 220)}.{self.draw.randrange(250)}.0/24"
            values = {"network_id": made["id"], "ip_version": 4, "cidr": cidr}
            self.make("subnets", name=self.name_(), **values)

    def drop_network(self) -> None:
        self.drop("networks")

    def change_network(self) -> None:
        network = self.one("networks")
        if network:
            up = {"network": {"admin_state_up": not network["admin_state_up"]}}
            self.ask("PUT", f"{N}/networks/{network['id']}", up)

    def port(self) -> None:
        network = self.one("networks")
        if network:
            self.make("ports", name=self.name_(), network_id=network["id"])

    def change_port(self) -> None:
        port = self.one("ports", wanted=lambda p: not p["device_owner"].startswith("network:"))
        if not port:
            return
        groups = [group["id"] for group in self.all("security-groups")]
        change = self.draw.choice(
            [
                {"admin_state_up": not port["admin_state_up"]},
                {"security_groups": self.draw.sample(groups, min(len(groups), 2))},
                {"allowed_address_pairs": [{"ip_address": "10.250.0.0/16"}]},
                {"allowed_address_pairs": []},
                {"name": self.name_()},
                {
                    "port_security_enabled": False,
                    "security_groups": [],
                    "allowed_address_pairs": [],
                },
                {"port_security_enabled": True},
                {"extra_dhcp_opts": [{"opt_name": "domain-name", "opt_value": "soak.example"}]},
            ]
        )
        self.ask("PUT", f"{N}/ports/{port['id']}", {"port": change})

    def group(self) -> None:
        self.make("security-groups", name=self.name_())

    def rule(self) -> None:
        group, other = self.one("security-groups"), self.one("security-groups")
        if not group or not other:
            return
        low = self.draw.randrange(1, 60000)
        rule = self.draw.choice(
            [
                {"protocol": "tcp", "port_range_min": low, "port_range_max": low + 99},
                {"protocol": "icmp"},
                {"remote_group_id": other["id"]},
                {"protocol": "udp", "remote_group_id": other["id"], "port_range_min": low,
                 "port_range_max": low},
                {"remote_ip_prefix": "10.0.0.0/8"},
            ]
        )  # fmt: skip
        direction = self.draw.choice(["ingress", "egress"])
        values = {"security_group_id": group["id"], "direction": direction} | rule
        self.ask("POST", f"{N}/security-group-rules", {"security_group_rule": values})

    def drop_rule(self) -> None:
        self.drop("security-group-rules")

    def router(self) -> None:
        gateway = {"network_id": self.public} if self.draw.random() < 0.8 else None
        more = {"external_gateway_info": gateway} if gateway else {}
        self.make("routers", name=self.name_(), **more)

    def change_router(self) -> None:
        router = self.one("routers")
        if router:
            gateway = None if router["external_gateway_info"] else {"network_id": self.public}
            change = self.draw.choice(
                [
                    {"admin_state_up": not router["admin_state_up"]},
                    {"external_gateway_info": gateway},
                ]
            )
            self.ask("PUT", f"{N}/routers/{router['id']}", {"router": change})

    def interface(self) -> None:
        router, subnet = self.one("routers"), self.one("subnets")
        if router and subnet:
            verb = self.draw.choice(
                ["add_router_interface", "add_router_interface", "remove_router_interface"]
            )
            body = {"subnet_id": subnet["id"]}
            self.ask("PUT", f"{N}/routers/{router['id']}/{verb}", body)

    def floatingip(self) -> None:
        self.make("floatingips", floating_network_id=self.public)

    def change_floatingip(self) -> None:
        fip = self.one("floatingips")
        port = self.one("ports", wanted=lambda p: p["device_owner"].startswith("compute:"))
        if fip:
            to = port.get("id") if not fip["port_id"] else None
            self.ask("PUT", f"{N}/floatingips/{fip['id']}", {"floatingip": {"port_id": to}})

    def server(self) -> None:
        if len(self.all("servers")) >= MOST["servers"]:
            return
        free = self.one("ports", wanted=lambda p: not p["device_id"])
        network = self.one("networks")
        nic = {"port": free["id"]} if free and self.draw.random() < 0.5 else None
        if nic is None and network:
            nic = {"uuid": network["id"]}
        if nic is None:
            return
        zone = f"nova:compute{self.draw.randrange(1, 3)}"
        body = {"name": self.name_(), "imageRef": self.image, "flavorRef": self.flavor,
                "networks": [nic], "availability_zone": zone}  # fmt: skip
        self.ask("POST", f"{C}/servers", {"server": body})

    def server_action(self) -> None:
        server = self.one("servers")
        if server:
            action = self.draw.choice([{"os-stop": None}, {"os-start": None}, {"os-start": None},
                                       {"reboot": {"type": "HARD"}}])  # fmt: skip
            self.ask("POST", f"{C}/servers/{server['id']}/action", action)

    def drop_server(self) -> None:
        server = self.one("servers")
        if server:
            self.ask("DELETE", f"{C}/servers/{server['id']}")

    def drop(self, collection: str) -> None:
        found = self.one(collection)
        if found:
            self.ask("DELETE", f"{N}/{collection}/{found['id']}")

    def drop_any(self) -> None:
        self.drop(
            self.draw.choice(["ports", "routers", "floatingips", "security-groups", "subnets"])
        )

    # --- its life -------------------------------------------------------------------------------

    def run(self) -> None:
        """Do one thing after the other while `go` is set, until `ended`."""
        deeds = [
            self.network, self.network, self.drop_network, self.change_network, self.port, self.port, self.change_port,
            self.change_port, self.group, self.rule, self.rule, self.drop_rule, self.router, self.change_router,
            self.interface, self.interface, self.floatingip, self.change_floatingip, self.change_floatingip, self.server,
            self.server, self.server, self.server_action, self.drop_server, self.drop_server, self.drop_any,
        ]  # fmt: skip
        while not self.ended:
            if not self.go.is_set():
                self.idle.set()
                self.go.wait(0.2)
                continue
            self.idle.clear()
            try:
                self.draw.choice(deeds)()
            except Exception:
                # Our own mistake, or an answer of a form that no client expects. Without this the thread would be gone.
                self.faults.append(f"{self.name}: {traceback.format_exc()}")
        self.idle.set()

    def clear(self) -> list[str]:
        """Delete all that the project has; returns what is left."""
        for server in self.all("servers"):
            self.ask("DELETE", f"{C}/servers/{server['id']}")
        for fip in self.all("floatingips"):
            self.ask("DELETE", f"{N}/floatingips/{fip['id']}")
        for router in self.all("routers"):
            ports = self.ask("GET", f"{N}/ports?device_id={router['id']}").get("ports", [])
            for port in ports:
                body = {"port_id": port["id"]}
                if port["device_owner"] == "network:router_interface":
                    path = f"{N}/routers/{router['id']}/remove_router_interface"
                    self.ask("PUT", path, body)
            self.ask("DELETE", f"{N}/routers/{router['id']}")
        for collection in ("ports", "networks", "security-groups"):
            for each in self.all(collection):
                kept = each.get("device_owner", "").startswith("network:")
                if not kept and each.get("name") != "default":
                    self.ask("DELETE", f"{N}/{collection}/{each['id']}")
        left = [f"{self.name}: server {s['name']} ({s['status']})" for s in self.all("servers")]
        for collection in ("networks", "routers", "ports", "floatingips"):
            left += [f"{self.name}: {collection} {each['id']}" for each in self.all(collection)]
        return left
