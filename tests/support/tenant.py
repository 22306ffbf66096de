"""One project's objects in a running lab, made through the API, and its instances as tests look into them."""

from __future__ import annotations

import contextlib
import signal
import subprocess
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import httpx

from netloom.lab import settings
from netloom.lab.topology import GATEWAYS, WEB
from tests.support.pings import answered
from tests.support.running_lab import RunningLab

NETWORKING = "/networking/v2.0"
COMPUTE = "/compute/v2.1"
INTERFACES = ("network:router_interface", "network:ha_router_replicated_interface")


@dataclass(frozen=True)
class Instance:
    """An instance that is ACTIVE. `pid`: of its first process, as the machine counts."""

    lab: RunningLab
    id: str
    host: str
    port: dict[str, Any]
    pid: int

    @property
    def address(self) -> str:
        """Its first fixed address."""
        return self.port["fixed_ips"][0]["ip_address"]

    @property
    def mac(self) -> str:
        """Its MAC address."""
        return self.port["mac_address"]

    @property
    def tap(self) -> str:
        """Its device on br-int."""
        return f"tap{self.port['id'][:11]}"

    def line(self, *command: str) -> list[str]:
        """The command line that runs a tool of this machine in the instance's network namespace."""
        return ["nsenter", "--target", str(self.pid), "--net", "--", *command]

    def run(self, *command: str, timeout: float = 30.0) -> str:
        """Run a tool of this machine in the instance's network namespace; returns all it said."""
        done = subprocess.run(
            self.line(*command), capture_output=True, text=True, timeout=timeout, check=False
        )
        return done.stdout + done.stderr

    def pings(self, address: str, *more: str, count: int = 1) -> bool:
        """Whether every one of `count` pings is answered."""
        return answered(self.run, address, *more, count=count)

    def reaches(self, address: str, seconds: float = 30.0) -> None:
        """Wait until a ping is answered."""
        RunningLab.until(
            lambda: self.pings(address), seconds, f"{self.address} never reached {address}"
        )


class Tenant:
    """A session in a project, as a person with the role admin; what it makes goes when it is closed."""

    def __init__(self, lab: RunningLab, project: str = "admin") -> None:
        self.lab = lab
        self._made: list[str] = []
        self._http = httpx.Client(
            base_url=f"http://127.0.0.1:{lab.state.port}", timeout=30.0, trust_env=False
        )
        domain = {"id": "default"}
        user = {"name": "admin", "password": settings.passwords(lab.lab)["admin"], "domain": domain}
        identity = {"methods": ["password"], "password": {"user": user}}
        scope = {"project": {"name": project, "domain": domain}}
        answer = self._http.post(
            "/identity/v3/auth/tokens", json={"auth": {"identity": identity, "scope": scope}}
        )
        assert answer.status_code == 201, answer.text
        self._project_id: str = answer.json()["token"]["project"]["id"]
        self._http.headers["X-Auth-Token"] = answer.headers["x-subject-token"]

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        # A router's interface stays as long as a floating IP needs it.
        for path in [path for path in self._made if "/floatingips/" in path]:
            self._http.delete(path)
        for router in [path for path in self._made if "/routers/" in path]:
            ports = self.get(f"{NETWORKING}/ports", device_id=router.rpartition("/")[2])["ports"]
            for port in ports:
                if port["device_owner"] in INTERFACES:
                    with contextlib.suppress(AssertionError):
                        self.put(f"{router}/remove_router_interface", {"port_id": port["id"]})
        for path in reversed(self._made):
            self._http.delete(path)
            if "/servers/" in path:
                RunningLab.until(
                    lambda path=path: self._http.get(path).status_code == 404, 30, path
                )
        self._http.close()

    def request(self, method: str, path: str, **more: Any) -> dict[str, Any]:
        """A request that must succeed."""
        answer = self._http.request(method, path, **more)
        assert answer.is_success, f"{method} {path}: {answer.status_code} {answer.text}"
        return answer.json() if answer.content else {}

    def get(self, path: str, **query: str) -> dict[str, Any]:
        """GET."""
        return self.request("GET", path, params=query)

    def put(self, path: str, body: dict[str, Any]) -> dict[str, Any]:
        """PUT."""
        return self.request("PUT", path, json=body)

    def delete(self, path: str) -> None:
        """DELETE, now."""
        self.request("DELETE", path)
        with contextlib.suppress(ValueError):
            self._made.remove(path)

    def make(self, collection: str, **attributes: Any) -> dict[str, Any]:
        """Create an object of the Networking API."""
        kind = collection.replace("-", "_").removesuffix("s")
        made = self.request("POST", f"{NETWORKING}/{collection}", json={kind: attributes})[kind]
        self._made.append(f"{NETWORKING}/{collection}/{made['id']}")
        return made

    def network(
        self, name: str, cidr: str, subnet: dict[str, Any] | None = None, **more: Any
    ) -> dict[str, Any]:
        """A network with one subnet, which is added as `subnet`."""
        made = self.make("networks", name=name, **more)
        more_subnet = subnet or {}
        made["subnet"] = self.make(
            "subnets", name=name, network_id=made["id"], ip_version=4, cidr=cidr, **more_subnet
        )
        return made

    def group(self, *rules: dict[str, Any]) -> dict[str, Any]:
        """A security group with these ingress rules."""
        made = self.make("security-groups", name="of-a-test")
        made["rules"] = [
            self.make(
                "security-group-rules", security_group_id=made["id"], direction="ingress", **rule
            )
            for rule in rules
        ]
        return made

    def router(
        self, *networks: dict[str, Any], external: str = "public", **more: Any
    ) -> dict[str, Any]:
        """A router with a gateway and an interface in each network."""
        outside = self.get(f"{NETWORKING}/networks", name=external)["networks"][0]
        gateway = {"network_id": outside["id"]}
        made = self.make("routers", name="of-a-test", external_gateway_info=gateway, **more)
        for network in networks:
            self.attach(made, network)
        return made

    def attach(self, router: dict[str, Any], network: dict[str, Any]) -> None:
        """Give a router an interface."""
        path = f"{NETWORKING}/routers/{router['id']}/add_router_interface"
        self.put(path, {"subnet_id": network["subnet"]["id"]})

    def floating_ip(self, port_id: str | None) -> dict[str, Any]:
        """A floating IP of the network `public`."""
        outside = self.get(f"{NETWORKING}/networks", name="public")["networks"][0]
        return self.make("floatingips", floating_network_id=outside["id"], port_id=port_id)

    def policy(self, **rules: Sequence[dict[str, Any]]) -> str:
        """A QoS policy with rules (type → values of each); returns its id. It goes after all that has it."""
        made = self.request("POST", f"{NETWORKING}/qos/policies", json={"policy": {"name": "t"}})
        path = f"{NETWORKING}/qos/policies/{made['policy']['id']}"
        self._made.insert(0, path)
        for type, several in rules.items():
            for values in several:
                self.request("POST", f"{path}/{type}_rules", json={f"{type}_rule": values})
        return made["policy"]["id"]

    def raise_quota(self, **limits: int) -> None:
        """Set compute quotas of the project, until the lab ends."""
        self.put(f"{COMPUTE}/os-quota-sets/{self._project_id}", {"quota_set": limits})

    def boot(
        self, name: str, host: str, network: dict[str, Any], group: dict[str, Any], **fixed: Any
    ) -> str:
        """Ask for an instance on a host; returns its id. `address` chooses its address."""
        attributes: dict[str, Any] = {"network_id": network["id"], "security_groups": [group["id"]]}
        if fixed:
            attributes["fixed_ips"] = [
                {"subnet_id": network["subnet"]["id"], "ip_address": fixed["address"]}
            ]
        return self.boot_on(name, host, self.make("ports", name=name, **attributes))

    def boot_on(self, name: str, host: str, *ports: dict[str, Any]) -> str:
        """Ask for an instance on a host with ports that are there, without waiting; returns its id."""
        image = self.get("/image/v2/images", name="small")["images"][0]["id"]
        flavors = self.get(f"{COMPUTE}/flavors")["flavors"]
        flavor = next(flavor["id"] for flavor in flavors if flavor["name"] == "m1.tiny")
        body = {
            "name": name,
            "imageRef": image,
            "flavorRef": flavor,
            "networks": [{"port": port["id"]} for port in ports],
            "availability_zone": f"nova:{host}",
        }
        made = self.request("POST", f"{COMPUTE}/servers", json={"server": body})["server"]
        self._made.append(f"{COMPUTE}/servers/{made['id']}")
        return made["id"]

    def instance(self, server_id: str) -> Instance:
        """Wait until an instance is ACTIVE and has its address."""
        path = f"{COMPUTE}/servers/{server_id}"

        def active() -> bool:
            server = self.get(path)["server"]
            assert server["status"] != "ERROR", server.get("fault")
            return server["status"] == "ACTIVE"

        RunningLab.until(active, 60, f"server {server_id} never became ACTIVE")
        port = self.get(f"{NETWORKING}/ports", device_id=server_id)["ports"][0]
        host = port["binding:host_id"]
        home = self.lab.lab.host(host) / "state/instances" / server_id
        pid = (home / "running").read_text().split()[0]
        found = Instance(self.lab, server_id, host, port, machine_pid(self.lab, host, pid))
        RunningLab.until(
            lambda: found.address in found.run("ip", "-4", "addr"), 30, "no DHCP answer"
        )
        return found


def flat_network(tenant: Tenant) -> dict[str, Any]:
    """The network that is extnet: there can be one only, and the demo on this lab may have made it already."""
    flat = {"provider:network_type": "flat", "provider:physical_network": "extnet"}
    known = tenant.get(f"{NETWORKING}/networks", **flat)["networks"]
    if known:
        return known[0]
    pool = {
        "gateway_ip": GATEWAYS["extnet"],
        "allocation_pools": [{"start": "192.0.2.60", "end": "192.0.2.69"}],
        "dns_nameservers": [WEB],
    }
    return tenant.network("wire", "192.0.2.0/24", pool, shared=True, **flat)


def machine_pid(lab: RunningLab, host: str, pid: str) -> int:
    """A process in a network namespace of its own on a host, as the machine counts its processes.

    Not any process of that namespace: others come and go there.
    """
    wanted = lab.exec(host, "readlink", f"/proc/{pid}/ns/net").strip()
    for entry in Path("/proc").iterdir():
        with contextlib.suppress(OSError):
            if entry.name.isdigit() and str((entry / "ns/net").readlink()) == wanted:
                status = (entry / "status").read_text()
                numbers = next(line for line in status.splitlines() if line.startswith("NSpid:"))
                if pid in numbers.split()[2:]:
                    return int(entry.name)
    raise AssertionError(f"process {pid} of {host} is not there")


def on_host(lab: RunningLab, host: str, *command: str) -> list[str]:
    """The command line that runs a tool of this machine in a host's own network namespace."""
    return ["nsenter", "--target", str(lab.process(host).pid), "--net", "--", *command]


class Background:
    """A program that runs beside the test; `stop` returns all it said."""

    def __init__(self, line: Sequence[str], stdin: bool = False) -> None:
        self.process = subprocess.Popen(
            line,
            stdin=subprocess.PIPE if stdin else subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )

    def stop(self, number: int = signal.SIGINT) -> str:
        """End it (Ctrl-C unless another signal is named)."""
        if self.process.poll() is None:
            self.process.send_signal(number)
        try:
            said, _ = self.process.communicate(timeout=10)
        except subprocess.TimeoutExpired:
            self.process.kill()
            said, _ = self.process.communicate()
        return said


@contextlib.contextmanager
def background(line: Sequence[str]) -> Iterator[Background]:
    """A program for as long as the context lasts."""
    running = Background(line)
    try:
        yield running
    finally:
        running.stop()


class Capture:
    """Frames seen on a device while the context lasts; afterwards in `text`, one or more lines a frame."""

    def __init__(
        self, where: Sequence[str], device: str, *filter_: str, verbose: bool = False
    ) -> None:
        more = ["-vvv"] if verbose else []
        self._line = [
            *where,
            *(
                "tcpdump",
                "-Z",
                "root",
                "-l",
                "-U",
                "--immediate-mode",
                "-neti",
                device,
                *more,
                *filter_,
            ),
        ]
        self.text = ""

    def __enter__(self) -> Self:
        self._running = Background(self._line)
        output = self._running.process.stdout
        assert output is not None
        for line in output:
            if "listening on" in line:
                return self
        raise AssertionError(f"tcpdump ended: {self._line}")

    def __exit__(self, *error: object) -> None:
        time.sleep(0.3)
        self.text = self._running.stop()
        tail = (
            "packets captured",
            "packets received",
            "packet captured",
            "packet received",
            "dropped by kernel",
        )
        self.frames = [line for line in self.text.splitlines() if not line.endswith(tail)]
