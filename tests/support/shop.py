"""A small cloud behind the real API, whose hosts carry out everything at once: what explain is asked about faults.

Requests go to a real server in this process; a printed fix is typed into the unmodified `openstack` client. A host
reports what its agent would report when all of its plan is in place.
"""

from __future__ import annotations

import contextlib
import json
import shlex
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx

from netloom.lab.openstack import OpenStack
from netloom.lab.state import Lab
from netloom.model import Caller, Context, HostFacts, Server, Status
from netloom.network import placement, status
from netloom.plan import VERSION, plan
from tests.support.cloud import ADMIN, Cloud, running
from tests.support.status_rows import collect

NETWORKING, COMPUTE = "/networking/v2.0", "/compute/v2.1"
MAPPINGS = {"public": "br-public", "extnet": "br-extnet"}
HOSTS = {"network1": ("network",), "compute1": ("compute",), "compute2": ("compute",)}


class Shop:
    """The cloud. Objects are called by name; `ids` has «kind/name» → id."""

    def __init__(self, cloud: Cloud, http: httpx.Client, openstack: OpenStack) -> None:
        self.cloud, self.http, self.client = cloud, http, openstack
        self.ids: dict[str, str] = {}
        self.broken: dict[str, int] = {}
        """Server id → its power_seq when its host failed to run it."""
        self.add_hosts()
        image = {"name": "small", "disk_format": "raw", "container_format": "bare"}
        self.image = self.request("POST", "/image/v2/images", image)["id"]
        octets = {"content-type": "application/octet-stream"}
        http.put(f"/image/v2/images/{self.image}/file", content=b"a disk", headers=octets)
        flavor = {"flavor": {"name": "m1.tiny", "id": "1", "ram": 64, "vcpus": 1, "disk": 1}}
        self.request("POST", f"{COMPUTE}/flavors", flavor)
        quota = {"quota": {"security_group": -1, "router": -1, "floatingip": -1}}
        project = next(
            p["id"]
            for p in self.request("GET", "/identity/v3/projects")["projects"]
            if p["name"] == "admin"
        )
        self.request("PUT", f"{NETWORKING}/quotas/{project}", quota)
        self.request(
            "PUT",
            f"{COMPUTE}/os-quota-sets/{project}",
            {"quota_set": {"instances": 50, "cores": 50}},
        )

    def add_hosts(self) -> None:
        with self.cloud.store.writer() as w:
            for number, (name, roles) in enumerate(HOSTS.items(), start=1):
                w.put_host(
                    name,
                    secret_hash="x",
                    facts=HostFacts(
                        host=name,
                        tunnel_ip=f"192.0.2.{number}",
                        bridge_mappings=MAPPINGS,
                        physical_interfaces={"br-public": "eth1", "br-extnet": "eth2"},
                        roles=roles,
                        instance_types=("container",) if "compute" in roles else (),
                        plan_version=VERSION,
                    ),
                )
                w.heartbeat(name, time.time(), 0)

    # -- the API

    def request(self, method: str, path: str, body: Any = None, **query: str) -> Any:
        answer = self.http.request(method, path, json=body, params=query or None)
        assert answer.is_success, f"{method} {path} {body}: {answer.status_code} {answer.text}"
        return answer.json() if answer.content else None

    def id(self, thing: str) -> str:
        return self.ids[thing]

    def make(self, kind: str, name: str, **attrs: Any) -> dict[str, Any]:
        path = f"{NETWORKING}/{kind.replace('_', '-')}s"
        if kind not in ("security_group_rule", "floatingip"):
            attrs["name"] = name
        made = self.request("POST", path, {kind: attrs})[kind]
        self.ids[f"{kind}/{name}"] = made["id"]
        return made

    def set(self, thing: str, **attrs: Any) -> None:
        kind = thing.partition("/")[0]
        self.request(
            "PUT", f"{NETWORKING}/{kind.replace('_', '-')}s/{self.id(thing)}", {kind: attrs}
        )

    def get(self, thing: str) -> dict[str, Any]:
        kind = thing.partition("/")[0]
        return self.request("GET", f"{NETWORKING}/{kind.replace('_', '-')}s/{self.id(thing)}")[kind]

    def delete(self, thing: str) -> None:
        kind = thing.partition("/")[0]
        self.request("DELETE", f"{NETWORKING}/{kind.replace('_', '-')}s/{self.ids.pop(thing)}")

    def network(self, name: str, cidr: str, subnet: dict[str, Any] | None = None, **attrs: Any):
        """A network with a subnet of the same name; addresses below .100 are for tests to name."""
        self.make("network", name, **attrs)
        self.subnet(name, name, cidr, **(subnet or {}))

    def subnet(self, name: str, network: str, cidr: str, **attrs: Any) -> None:
        first = cidr.removesuffix("0/24")
        pools = [{"start": f"{first}100", "end": f"{first}199"}]
        attrs = {"allocation_pools": pools, "ip_version": 4, "cidr": cidr, **attrs}
        self.make("subnet", name, network_id=self.id(f"network/{network}"), **attrs)

    def router(self, name: str, external: str = "", *subnets: str) -> None:
        info = {"network_id": self.id(f"network/{external}")} if external else None
        self.make("router", name, external_gateway_info=info)
        for subnet in subnets:
            self.attach(name, subnet)

    def attach(self, router: str, subnet: str, address: str = "") -> None:
        """An interface in a subnet: at its gateway address, or at one that is named."""
        body = {"subnet_id": self.id(f"subnet/{subnet}")}
        if address:
            network = self.get(f"subnet/{subnet}")["network_id"]
            fixed = [{**body, "ip_address": address}]
            port = self.make("port", f"{router}-{subnet}", network_id=network, fixed_ips=fixed)
            body = {"port_id": port["id"]}
        path = f"{NETWORKING}/routers/{self.id(f'router/{router}')}/add_router_interface"
        self.ids[f"port/{router}-{subnet}"] = self.request("PUT", path, body)["port_id"]

    def detach(self, router: str, subnet: str) -> None:
        path = f"{NETWORKING}/routers/{self.id(f'router/{router}')}/remove_router_interface"
        self.request("PUT", path, {"subnet_id": self.id(f"subnet/{subnet}")})
        del self.ids[f"port/{router}-{subnet}"]

    def group(self, name: str, *rules: dict[str, Any], **attrs: Any) -> None:
        self.make("security_group", name, **attrs)
        for number, rule in enumerate(rules):
            self.rule(f"{name}-{number}", name, **rule)

    def rule(self, name: str, group: str, direction: str = "ingress", **attrs: Any) -> None:
        group_id = self.id(f"security_group/{group}")
        self.make(
            "security_group_rule", name, security_group_id=group_id, direction=direction, **attrs
        )

    def no_rules(self, group: str, direction: str = "") -> None:
        """Take the rules of a group away, those of one direction or all."""
        for rule in self.get(f"security_group/{group}")["security_group_rules"]:
            if direction in ("", rule["direction"]):
                self.request("DELETE", f"{NETWORKING}/security-group-rules/{rule['id']}")

    def instance(
        self, name: str, host: str, *cards: tuple[str, str], groups: tuple[str, ...] = ()
    ) -> None:
        """An instance with a port of its own name on each network, at that address (`subnet/address` names the subnet)."""
        ports: list[dict[str, str]] = []
        for number, (network, where) in enumerate(cards):
            subnet, _, address = where.rpartition("/")
            fixed = [{"ip_address": address, "subnet_id": self.id(f"subnet/{subnet or network}")}]
            port = self.make(
                "port",
                name if number == 0 else f"{name}-{network}",
                network_id=self.id(f"network/{network}"),
                fixed_ips=fixed,
                security_groups=[self.id(f"security_group/{group}") for group in groups],
            )
            ports.append({"port": port["id"]})
        body = {
            "name": name,
            "imageRef": self.image,
            "flavorRef": "1",
            "networks": ports,
            "availability_zone": f"nova:{host}",
        }
        made = self.request("POST", f"{COMPUTE}/servers", {"server": body})["server"]
        self.ids[f"server/{name}"] = made["id"]

    def floating(self, name: str, port: str = "", network: str = "public", **attrs: Any) -> None:
        port_id = self.id(f"port/{port}") if port else None
        made = self.make(
            "floatingip",
            name,
            floating_network_id=self.id(f"network/{network}"),
            port_id=port_id,
            **attrs,
        )
        self.ids[f"address/{name}"] = made["floating_ip_address"]

    def power(self, server: str, action: str) -> None:
        path = f"{COMPUTE}/servers/{self.id(f'server/{server}')}/action"
        self.request("POST", path, {f"os-{action}": None})

    def clean(self) -> None:
        """Remove everything that a fault's story made."""
        for server in self.request("GET", f"{COMPUTE}/servers")["servers"]:
            self.request("DELETE", f"{COMPUTE}/servers/{server['id']}")
        for fip in self.request("GET", f"{NETWORKING}/floatingips")["floatingips"]:
            self.request("DELETE", f"{NETWORKING}/floatingips/{fip['id']}")
        for router in self.request("GET", f"{NETWORKING}/routers")["routers"]:
            path = f"{NETWORKING}/routers/{router['id']}"
            self.request("PUT", path, {"router": {"routes": []}})
            query = {"device_id": router["id"], "device_owner": "network:router_interface"}
            for port in self.request("GET", f"{NETWORKING}/ports", **query)["ports"]:
                self.request("PUT", f"{path}/remove_router_interface", {"port_id": port["id"]})
            self.request("DELETE", path)
        for port in self.request("GET", f"{NETWORKING}/ports")["ports"]:
            if not port["device_owner"].startswith("network:"):
                self.request("DELETE", f"{NETWORKING}/ports/{port['id']}")
        for network in self.request("GET", f"{NETWORKING}/networks")["networks"]:
            self.request("DELETE", f"{NETWORKING}/networks/{network['id']}")
        for group in self.request("GET", f"{NETWORKING}/security-groups")["security_groups"]:
            # A default group is made anew, with its rules, when it is next needed.
            self.request("DELETE", f"{NETWORKING}/security-groups/{group['id']}")
        with self.cloud.store.writer() as w:
            for name in HOSTS:
                w.put_host(name, admin_state_up=True)
        self.ids, self.broken = {}, {}

    # -- the hosts

    def settle(self) -> None:
        """Every host has carried out all that it was told, and has said so."""
        caller = Caller(user_name="keeper", roles=frozenset({"admin"}))
        ctx = Context(caller=caller, settings=self.cloud.services.settings.network)
        with self.cloud.store.writer() as w:
            placement.place_unplaced(w, ctx)
        seq = -1
        while (
            seq != self.seq
        ):  # what is reported may change a server's fault, which its host hears of
            views = self.cloud.services.scope.views()
            with self.cloud.store.writer() as w:
                seq = w.seq()
                for host, view in views.items():
                    rows = self._report(view)
                    said = {(row.kind, row.id, row.aspect) for row in rows}
                    rows += [
                        Status(kind=old.kind, id=old.id, aspect=old.aspect, seq=1, state="gone")
                        for old in w.status_rows(host=host)
                        if (old.kind, old.id, old.aspect) not in said
                    ]
                    w.heartbeat(host, time.time(), w.seq())
                    w.put_status(host, rows)
                    status.refresh(w, {(row.kind, row.id) for row in rows})

    @property
    def seq(self) -> int:
        with self.cloud.store.reader() as r:
            return r.seq()

    def _report(self, view: Any) -> list[Status]:
        rows = [
            Status(kind=kind, id=id, aspect=aspect, seq=1, state=state, detail=detail)
            for (kind, id, aspect), (state, detail) in collect(plan(view), {}).items()
        ]
        for number, row in enumerate(rows):
            server = view.servers.get(row.id) if row.kind == Server.KIND else None
            if server is not None and self.broken.get(server.id) == server.power_seq:
                rows[number] = Status(
                    kind=row.kind,
                    id=row.id,
                    aspect=row.aspect,
                    seq=1,
                    state="error",
                    detail="the instance could not be started: no space left on device",
                )
        return rows

    def breaks(self, server: str) -> None:
        """The host cannot run an instance; it tries again when the instance is stopped and started."""
        with self.cloud.store.reader() as r:
            found = r.get(Server, self.id(f"server/{server}"))
        assert found is not None
        self.broken[found.id] = found.power_seq

    # -- explain

    def explain(self, source: str, destination: str, protocol: str = "icmp", **more: Any) -> Any:
        query = {"source": source, "destination": destination, "protocol": protocol}
        return self.request(
            "GET", "/explain/v1", **query, **{name: str(value) for name, value in more.items()}
        )

    def follow(self, fix: str) -> list[str]:
        """Carry a printed fix out; returns what was refused (a fix that is no command is)."""
        refused: list[str] = []
        for command in fix.split(" && "):
            words = shlex.split(command)
            if words[:1] != ["openstack"]:
                return [*refused, f"not a command: {command}"]
            said = self.client.run(*words[1:])
            # A command that shows what it made begins with a table's border.
            if said and not said.startswith("+"):
                refused.append(f"{command}: {said[-300:]}")
            # The host hears of each change before the next command is typed.
            self.settle()
        return refused

    def named(self, text: str) -> str:
        """A text with names in the place of ids, and of what was drawn by chance."""
        for thing, ident in sorted(self.ids.items(), key=lambda item: -len(item[1])):
            text = text.replace(ident, thing.partition("/")[2].upper())
        return text


@contextlib.contextmanager
def shop(folder: Path) -> Iterator[Shop]:
    """Start the server and the client."""
    network = {"agent_down_seconds": 3600, "flat_networks": ["public", "extnet"]}
    with running(folder, network=network) as cloud, cloud.client("admin", "admin") as http:
        lab = Lab("shop", folder)
        credentials = {
            "auth_url": f"{cloud.url}/identity/v3",
            "username": "admin",
            "password": ADMIN,
            "project_name": "admin",
            "user_domain_name": "Default",
            "project_domain_name": "Default",
        }
        clouds = {"clouds": {"shop": {"auth": credentials, "region_name": "RegionOne"}}}
        lab.clouds.write_text(json.dumps(clouds))
        with OpenStack(lab, "shop") as client:
            yield Shop(cloud, http, client)
