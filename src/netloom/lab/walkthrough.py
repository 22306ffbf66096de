"""Both walkthroughs with real clients: a provider network, and a private network behind a floating IP."""

from __future__ import annotations

import contextlib
import re
import shlex
import subprocess
import time
from typing import Any

import msgspec

from netloom.lab import guest, image, wiring
from netloom.lab.narrator import Narrator
from netloom.lab.openstack import CommandFailed, OpenStack
from netloom.lab.processes import Process
from netloom.lab.state import Lab, LabState, write
from netloom.lab.topology import GATEWAYS, OUTSIDE, RANGES, WEB
from netloom.model.errors import UserError

_BUILD_SECONDS = 90.0
_POOL_A = ("192.0.2.100", "192.0.2.150")
_PRIVATE = "10.10.0.0/24"
_WHO_AM_I = f"wget -q -O - http://{WEB}/cgi-bin/address"


class Walkthrough:
    """Carries out the steps, remembers what it made (to remove it next time) and what it learned."""

    def __init__(self, lab: Lab, state: LabState, client: OpenStack, tell: Narrator) -> None:
        self.lab, self.state, self.client, self.tell = lab, state, client, tell
        self.folder = lab.directory / "demo"
        self.folder.mkdir(mode=0o700, exist_ok=True)
        self.key = self.folder / "admin.pem"
        self.made: list[list[str]] = []
        self.timings: dict[str, float] = {}
        self.floating = ""
        self.instance_b = ""

    # What all steps use.

    def openstack(self, *words: str) -> Any:
        """Show and run a command that answers with an object."""
        self.tell.command(f"openstack {shlex.join(words)}")
        return self.client.json(*words)

    def openstack_quiet(self, *words: str) -> None:
        """Show and run a command that answers with nothing."""
        self.tell.command(f"openstack {shlex.join(words)}")
        self.client.quiet(*words)

    def create(self, *words: str) -> dict[str, Any]:
        """Create an object and write down that we did."""
        made = self.openstack(*words)
        kind = words[: words.index("create")]
        self.remember(*kind, "delete", made.get("id") or made["name"])
        return made

    def remember(self, *undo: str) -> None:
        """Write down the command that takes back what was just done."""
        self.made.append(list(undo))
        write(self.folder / "made.json", msgspec.json.encode(self.made).decode())

    def host(self, name: str) -> Process:
        """PID 1 of a host."""
        return self.state.processes[name]

    def inside(self, host: str, *command: str, show: bool = True) -> str:
        """Show and run a command in a host of the lab."""
        if show:
            self.tell.command(f"netloom lab exec {host} -- {shlex.join(command)}")
        done = subprocess.run(
            wiring.inside(self.host(host), command), capture_output=True, text=True, check=False
        )
        if done.returncode:
            raise UserError(
                f"{shlex.join(command)} on {host}: {(done.stderr or done.stdout).strip()[-200:]}"
            )
        return done.stdout

    def login(self, address: str, words: str) -> str:
        """Show and run a command in an instance, over ssh from outside."""
        self.tell.command(
            f"netloom lab exec {OUTSIDE} -- ssh -i {self.key} {image.USER}@{address} {shlex.quote(words)}"
        )
        return guest.ssh(self.host(OUTSIDE), self.key, address, words)

    def expect(self, true: bool, proved: str, otherwise: str) -> None:
        """Say what was proved, or stop."""
        if not true:
            raise UserError(f"the demo's claim does not hold: {otherwise}")
        self.tell.proved(proved)

    # The steps.

    def clean(self) -> None:
        """Remove what an earlier run made, and nothing else."""
        path = self.folder / "made.json"
        if not path.exists():
            return
        self.tell.say("Removing what the last demo made …")
        undo = msgspec.json.decode(path.read_bytes(), type=list[list[str]])
        for words in reversed(undo):
            # What somebody removed by hand is gone: that is what is wanted.
            with contextlib.suppress(CommandFailed):
                self.client.quiet(*words)
            if words[0] == "server":
                self._gone(words[-1])
        path.unlink()

    def _gone(self, server: str) -> None:
        deadline = time.monotonic() + 30
        while time.monotonic() < deadline:
            try:
                self.client.json("server", "show", server, "-c", "status")
            except CommandFailed:
                return
            time.sleep(0.2)

    def common(self) -> None:
        """Image, security group, key pair."""
        self.tell.part("Before both walkthroughs: an image, a security group, a key pair")
        path = image.small_image()
        with self.tell.step("An image: 3.5 MB of busybox and dropbear"):
            made = self.create(
                *(
                    "image",
                    "create",
                    "--public",
                    "--disk-format",
                    "qcow2",
                    "--container-format",
                    "bare",
                ),
                *("--file", str(path), "demo-image"),
            )
            shown = self.client.json("image", "show", made["id"])
            self.expect(
                shown["size"] == path.stat().st_size and shown["status"] == "active",
                f"stored whole: {shown['size']} bytes, checksum {shown['checksum']}",
                f"the image has {shown['size']} bytes and is {shown['status']}",
            )
        with self.tell.step("A security group that lets in TCP and ICMP"):
            group = self.create("security", "group", "create", "all")["id"]
            self.openstack(
                *["security", "group", "rule", "create", "--proto", "tcp", "--dst-port", "1:65535"],
                group,
            )
            self.openstack(*["security", "group", "rule", "create", "--proto", "icmp"], group)
            self.tell.proved(
                "a new group lets everything out and nothing in; now TCP and ICMP come in"
            )
        with self.tell.step("A key pair"):
            self.key.unlink(missing_ok=True)
            self.create("keypair", "create", "--private-key", str(self.key), "admin")
            self.key.chmod(0o600)
            self.tell.proved("the public half reaches instances through the metadata service only")

    def boot(self, name: str, network: str) -> tuple[dict[str, Any], str]:
        """Boot an instance, wait until it is ACTIVE; returns it and its address."""
        begun = time.monotonic()
        made = self.create(
            *("server", "create", "--flavor", "m1.medium", "--image", "demo-image"),
            *("--network", network, "--key-name", "admin", "--security-group", "all", name),
        )
        while True:
            shown = self.client.json("server", "show", made["id"])
            if shown["status"] == "ACTIVE":
                break
            if shown["status"] == "ERROR":
                raise UserError(f"{name} is in ERROR: {shown.get('fault')}")
            if time.monotonic() - begun > _BUILD_SECONDS:
                raise UserError(f"{name} is still {shown['status']} after {_BUILD_SECONDS:.0f} s")
            time.sleep(0.1)
        self.timings[f"{name} ACTIVE"] = time.monotonic() - begun
        addresses = shown["addresses"]
        found = re.search(r"\d+\.\d+\.\d+\.\d+", str(addresses))
        if found is None:
            raise UserError(f"{name} has no address: {addresses}")
        host = shown.get("OS-EXT-SRV-ATTR:host") or shown.get("compute_host") or "a compute host"
        self.tell.proved(
            f"ACTIVE on {host} after {self.timings[f'{name} ACTIVE']:.1f} s, address {found.group()}"
        )
        return shown, found.group()

    def provider(self) -> None:
        """Walkthrough A."""
        self.tell.part("Walkthrough A: an instance on the physical network, without router or NAT")
        with self.tell.step(
            "A network that is the physical network extnet, shared with every project"
        ):
            self.create(
                *["network", "create", "--share", "--provider-network-type", "flat"],
                *["--provider-physical-network", "extnet", "external_network"],
            )
        with self.tell.step(
            "Its addresses: part of the range that is in use there, and its own gateway"
        ):
            self.create(
                *(
                    "subnet",
                    "create",
                    "--network",
                    "external_network",
                    "--subnet-range",
                    RANGES["extnet"],
                ),
                *("--allocation-pool", f"start={_POOL_A[0]},end={_POOL_A[1]}"),
                *("--gateway", GATEWAYS["extnet"], "--dns-nameserver", WEB, "external_subnet"),
            )
            self.tell.command("openstack network list")
            self.tell.output(self.client.run("network", "list", "-c", "Name", "-c", "Subnets"))
        with self.tell.step("An instance on it"):
            _, address = self.boot("my1", "external_network")
        with self.tell.step(
            "ssh from the physical network, straight to the instance's own address"
        ):
            waited = guest.wait(self.host(OUTSIDE), self.key, address)
            seen = self.login(address, "ip -4 addr show eth0; ip route; cat /etc/resolv.conf")
            self.tell.output(seen)
            self.expect(
                f"inet {address}/24" in seen,
                f"logged in {waited:.1f} s after ACTIVE; no NAT",
                "address",
            )
            self.expect(
                f"default via {GATEWAYS['extnet']}" in seen
                and "169.254.169.254" in seen
                and WEB in seen,
                "DHCP gave the physical network's own gateway, the name server and the metadata route",
                "gateway, name server or metadata route is missing",
            )
            there = self.login(address, _WHO_AM_I)
            self.expect(
                address in there,
                f"the web server outside sees {address} itself",
                f"outside sees {there}",
            )

    def floating_ip(self) -> None:
        """Walkthrough B."""
        self.tell.part("Walkthrough B: a private network, a router, a floating IP")
        with self.tell.step("A private network"):
            self.create("network", "create", "private")
            self.create(
                *("subnet", "create", "--network", "private", "--subnet-range", _PRIVATE),
                *("--dns-nameserver", WEB, "private_subnet"),
            )
        with self.tell.step("The public network: external, and no DHCP on it"):
            self._public()
        with self.tell.step("A router between them"):
            router = self.create("router", "create", "--no-ha", "router1")["id"]
            self.openstack_quiet("router", "set", "--external-gateway", "public", "router1")
            self.openstack_quiet("router", "add", "subnet", "router1", "private_subnet")
            self.remember("router", "remove", "subnet", router, "private_subnet")
        with self.tell.step("An instance on the private network"):
            _, private = self.boot("my2", "private")
        with self.tell.step("A floating IP for it"):
            begun = time.monotonic()
            self.floating = self.create("floating", "ip", "create", "public")["floating_ip_address"]
            self.openstack_quiet("server", "add", "floating", "ip", "my2", self.floating)
            guest.wait(self.host(OUTSIDE), self.key, self.floating)
            self.timings["floating IP to ssh"] = time.monotonic() - begun
            self.tell.proved(
                f"ssh through {self.floating} {self.timings['floating IP to ssh']:.1f} s after asking for it"
            )
        with self.tell.step("ssh from outside to the floating IP"):
            seen = self.login(self.floating, "hostname; ip -4 addr show eth0")
            self.tell.output(seen)
            self.expect(
                private in seen and self.floating not in seen,
                f"the instance knows only {private}",
                "the instance sees another address",
            )
            there = self.login(self.floating, _WHO_AM_I)
            self.expect(
                self.floating in there, f"outside sees {self.floating}", f"outside sees {there}"
            )
        self._router_inside(router, private)
        with self.tell.step("Taking the floating IP away"):
            self.openstack_quiet("server", "remove", "floating", "ip", "my2", self.floating)
            deadline = time.monotonic() + 10
            while guest.answers(self.host(OUTSIDE), self.floating) and time.monotonic() < deadline:
                time.sleep(0.1)
            self.expect(
                not guest.answers(self.host(OUTSIDE), self.floating),
                "it answers no more",
                "the floating IP still answers",
            )
            self.openstack_quiet("server", "add", "floating", "ip", "my2", self.floating)
            guest.wait(self.host(OUTSIDE), self.key, self.floating)
            self.tell.proved("given back, it answers again")
        self.instance_b = private

    def _public(self) -> None:
        """Make the external network where the lab has none (`--bare`)."""
        known = self.client.json("network", "list", "--external", "--name", "public")
        if known:
            self.tell.proved(
                "the lab made it already, as an administrator does once for all projects"
            )
            return
        self.create("network", "create", "public", "--external")
        self.create(
            *(
                "subnet",
                "create",
                "--network",
                "public",
                "--subnet-range",
                RANGES["public"],
                "--no-dhcp",
            ),
            *("--allocation-pool", "start=203.0.113.10,end=203.0.113.199"),
            *("--gateway", GATEWAYS["public"], "public_subnet"),
        )

    def _router_inside(self, router: str, private: str) -> None:
        """Look into the router with the tools that a person knows."""
        with self.tell.step("What the router is made of, on its host"):
            namespaces = self.inside("network1", "ip", "netns", "list")
            self.expect(
                f"qrouter-{router}" in namespaces and "qdhcp-" in namespaces,
                "the router is a namespace, and so is each network's DHCP",
                f"no namespace of the router in: {namespaces}",
            )
            devices = self.inside(
                "network1", "ip", "netns", "exec", f"qrouter-{router}", "ip", "-4", "-br", "addr"
            )
            self.tell.output(devices)
            self.expect(
                bool(re.search(rf"^qg-\S+ .*{re.escape(self.floating)}/", devices, re.MULTILINE))
                and bool(re.search(r"^qr-\S+ .*10\.10\.0\.1/24", devices, re.MULTILINE)),
                "the private gateway is on qr-…, the router's address and the floating IP on qg-…",
                "the router's devices do not have these addresses",
            )
            rules = self.inside(
                "network1", "ip", "netns", "exec", f"qrouter-{router}", "nft", "list", "ruleset"
            )
            nat = [line.strip() for line in rules.splitlines() if "nat to" in line]
            self.tell.output("\n".join(nat))
            self.expect(
                any(f"dnat to {private}" in line for line in nat)
                and any(f"snat to {self.floating}" in line for line in nat),
                "one DNAT and one SNAT for the floating IP, and a SNAT for everybody else",
                "the NAT rules of the floating IP are missing",
            )
