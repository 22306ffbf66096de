"""A host against its plan, read with the tools that an operator has, not by the agent's own eyes."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

from netloom.dataplane.linux import nat, nft
from netloom.dataplane.ovs.openflow import cookie
from netloom.lab import settings
from netloom.model import sysctls
from netloom.model.hoststate import (
    AttachedNetwork,
    Bridge,
    Bucket,
    Device,
    Dnsmasq,
    FloatingNat,
    Flow,
    Group,
    HostState,
    Instance,
    Interface,
    Namespace,
    NsRoute,
    SourceNat,
)
from netloom.model.server_settings import load
from netloom.plan import plan
from netloom.render.dnsmasq import dnsmasq_conf, dnsmasq_hosts, dnsmasq_opts
from netloom.render.openflow import Unresolved, bucket_actions_text, flow_text
from netloom.scope import Scope
from netloom.store import Store
from tests.support.running_lab import RunningLab

UNDERLAY = {"br-phy"}
DHCP = "/run/netloom/agent/dhcp"


def planned(lab: RunningLab) -> dict[str, HostState]:
    """What each host shall be like, from the server's own database."""
    store = Store.open(load(settings.server_file(lab.lab)).server.database_url)
    try:
        return {host: plan(view) for host, view in Scope(store).views().items()}
    finally:
        store.close()


def difference(lab: RunningLab) -> list[str]:
    """All that is not as planned, on all hosts."""
    found: list[str] = []
    for host, state in sorted(planned(lab).items()):
        found += [f"{host}: {line}" for line in Compared(lab, host, state).lines()]
    return found


def sets(what: str, wanted: set[Any], there: set[Any]) -> list[str]:
    """What is missing and what is there beside."""
    lines = [f"{what} missing: {each}" for each in sorted(map(str, wanted - there))]
    return lines + [f"{what} left over: {each}" for each in sorted(map(str, there - wanted))]


class Compared:
    """One host and its state."""

    def __init__(self, lab: RunningLab, host: str, state: HostState) -> None:
        self.lab, self.host, self.state = lab, host, state

    def sh(self, script: str) -> str:
        return self.lab.exec(self.host, "sh", "-c", script, check=False)

    def json(self, script: str) -> Any:
        text = self.sh(script)
        return json.loads(text) if text.strip() else []

    def lines(self) -> list[str]:
        return [
            *self.switch(),
            *self.flows(),
            *self.groups(),
            *self.namespaces(),
            *self.translation(),
            *self.dhcp(),
            *self.instances(),
        ]

    def switch(self) -> list[str]:
        """Bridges, their ports, and whether their links are up."""
        there = set(self.sh("ovs-vsctl list-br").split()) - UNDERLAY
        wanted = {bridge.name for bridge in self.state.each(Bridge)}
        lines = sets("bridge", wanted, there)
        for bridge in sorted(wanted & there):
            ports = {i.name for i in self.state.each(Interface) if i.bridge == bridge}
            lines += sets(
                f"port of {bridge}", ports, set(self.sh(f"ovs-vsctl list-ports {bridge}").split())
            )
        taps = {i.name for i in self.state.each(Interface) if i.type == "veth"}
        seen = {
            link["ifname"]: link["flags"]
            for link in self.json("ip -j link")
            if re.match("tap|eni|vm", link["ifname"])
        }
        # The far end of a card waits on the host while its instance is stopped.
        waiting = {
            "eni" + nic.device.removeprefix("tap")
            for item in self.state.each(Instance)
            if item.power != "on"
            for nic in item.nics
        }
        lines += sets("device", taps, set(seen) - waiting)
        # A card without an instance behind it has no carrier: it is up all the same.
        lines += [f"device {n} is down" for n in sorted(taps & set(seen)) if "UP" not in seen[n]]
        return lines

    def flows(self) -> list[str]:
        """Every flow by its text, in this host's numbers."""
        external = self.sh("ovs-vsctl get Open_vSwitch . external_ids")
        numbers = {
            (kind, name): number
            for kind, name, number in re.findall(
                r'"?netloom-(zone|conj)-([^"=]+)"?="?(\d+)"?', external
            )
        }
        listed = self.json("ovs-vsctl --format=json --columns=name,ofport list Interface")
        for name, number in listed["data"] if listed else ():
            if isinstance(number, int):  # a set without elements: the switch has not made it yet
                numbers["port", name] = str(number)

        wanted: dict[str, dict[int, str]] = {}
        lines: list[str] = []
        for flow in self.state.each(Flow):
            try:
                text = flow_text(flow, lambda kind, name: numbers.get((kind, name)))
            except Unresolved as missing:
                lines.append(f"flow cannot be there: {missing}")
                continue
            wanted.setdefault(flow.bridge, {})[cookie(text)] = text
        for bridge, flows in sorted(wanted.items()):
            dumped = self.sh(f"ovs-ofctl -O OpenFlow14 dump-flows {bridge} --no-stats")
            there = {
                int(found, 16): line
                for line in dumped.splitlines()
                for found in re.findall(r"cookie=(0x[0-9a-f]+)", line)
            }
            lines += [
                f"flow of {bridge} missing: {flows[c]}" for c in sorted(set(flows) - set(there))
            ]
            lines += [
                f"flow of {bridge} left over: {there[c].strip()}"
                for c in sorted(set(there) - set(flows))
            ]
        if "nx-match" not in self.sh("ovs-ofctl get-frags br-int"):
            lines.append("br-int does not show ports of fragments")
        return lines

    def groups(self) -> list[str]:
        """Every group, and every bucket by its text."""
        wanted: dict[str, set[Any]] = {bridge.name: set() for bridge in self.state.each(Bridge)}
        for group in self.state.each(Group):
            wanted[group.bridge].add(group.group)
        for bucket in self.state.each(Bucket):
            text = bucket_actions_text(bucket)
            wanted[bucket.bridge].add((bucket.group, bucket.bucket, text))
        lines: list[str] = []
        for bridge, some in sorted(wanted.items()):
            there: set[Any] = set()
            dumped = self.sh(f"ovs-ofctl -O OpenFlow15 --no-names dump-groups {bridge}")
            for number, rest in re.findall(r"group_id=(\d+),type=all(.*)", dumped):
                there.add(int(number))
                there |= {
                    (int(number), int(bucket), actions)
                    for bucket, actions in re.findall(
                        r"bucket=bucket_id:(\d+),actions=(.*?)(?=,bucket=|$)", rest
                    )
                }
            lines += sets(f"group or bucket of {bridge}", some, there)
        return lines

    def namespaces(self) -> list[str]:
        """Namespaces, their devices with addresses, MAC and MTU, and their routes."""
        there = {line.split()[0] for line in self.sh("ip netns list").splitlines()}
        wanted = {namespace.name: namespace for namespace in self.state.each(Namespace)}
        lines = sets("namespace", set(wanted), there)
        for name in sorted(set(wanted) & there):
            devices = {
                (d.name, d.mac, d.mtu, tuple(sorted(a.cidr for a in d.addresses)))
                for d in self.state.each(Device)
                if d.namespace == name
            }
            seen = {
                (
                    link["ifname"],
                    link.get("address"),
                    link["mtu"],
                    tuple(
                        sorted(
                            f"{a['local']}/{a['prefixlen']}"
                            for a in link["addr_info"]
                            if a["family"] == "inet"
                        )
                    ),
                )
                for link in self.json(f"ip -n {name} -j addr")
                if link["ifname"] != "lo"
            }
            lines += sets(f"device in {name}", devices, seen)
            routes = {
                (r.destination, r.gateway, r.device)
                for r in self.state.each(NsRoute)
                if r.namespace == name
            }
            known = {
                (cidr(r["dst"]), r.get("gateway"), r.get("dev"))
                for r in self.json(f"ip -n {name} -j route show proto static")
            }
            lines += sets(f"route in {name}", routes, known)
            lines += self.kernel_settings(wanted[name])
        return lines

    def kernel_settings(self, namespace: Namespace) -> list[str]:
        """Settings of a namespace; those that this kernel does not have are none."""
        devices = [d.name for d in self.state.each(Device) if d.namespace == namespace.name]
        wanted = sysctls.settings(sysctls.SERVICE, str(int(namespace.forward)), devices)
        files = {f"/proc/sys/net/{key.replace('.', '/')}": key for key in wanted}
        script = "for f in $0 $@; do [ -e $f ] && echo $f $(cat $f); done; true"
        words = ("ip", "netns", "exec", namespace.name, "sh", "-c", script, *files)
        seen = dict(
            line.split(maxsplit=1)
            for line in self.lab.exec(self.host, *words, check=False).splitlines()
            if len(line.split()) > 1
        )
        return [
            f"{namespace.name}: {files[file]} is {value}, not {wanted[files[file]]}"
            for file, value in sorted(seen.items())
            if value != wanted[files[file]]
        ]

    def translation(self) -> list[str]:
        """NAT and ingress filter of routers."""
        lines: list[str] = []
        kinds = (FloatingNat, SourceNat, AttachedNetwork)
        names = {n.namespace for kind in kinds for n in self.state.each(kind)}
        for name in sorted(n.name for n in self.state.each(Namespace) if n.name[1] == "r"):
            listing = self.sh(f"ip netns exec {name} nft list table ip netloom 2>/dev/null")
            if name not in names:
                lines += [f"{name}: NAT left over"] if listing else []
                continue
            floating = [n for n in self.state.each(FloatingNat) if n.namespace == name]
            source = [n for n in self.state.each(SourceNat) if n.namespace == name]
            networks = [n for n in self.state.each(AttachedNetwork) if n.namespace == name]
            # Nothing is told of a namespace that is gone.
            told = self.sh(f"ip netns exec {name} nft -j list ruleset")
            there = nft.parsed(told) if told.strip() else {}
            wanted = nft.Expected().tables({name: nat.wanted(floating, source, networks)})
            table = there.get(nat.TABLE, nft.Table())
            lines += [f"{name}: {w.words}" for w in nft.differences(wanted[name], table)]
            if "unfinished" in listing:
                lines.append(f"{name}: NAT is unfinished")
            lines += sets(
                f"floating IP in {name}",
                {(n.external, n.internal) for n in floating},
                set(re.findall(r"ip daddr (\S+) dnat to (\S+)", listing)),
            )
        return lines

    def dhcp(self) -> list[str]:
        """Files of each DHCP server, and that it lives."""
        servers = {server.network_id: server for server in self.state.each(Dnsmasq)}
        lines = sets("DHCP server", set(servers), set(self.sh(f"ls {DHCP} 2>/dev/null").split()))
        for network, server in sorted(servers.items()):
            home = f"{DHCP}/{network}"
            texts = {
                "conf": dnsmasq_conf(server, home),
                "hosts": dnsmasq_hosts(server),
                "opts": dnsmasq_opts(server),
            }
            for file, text in texts.items():
                if self.sh(f"cat {home}/{file} 2>/dev/null").strip() != text.strip():
                    lines.append(f"{home}/{file} differs")
            if not self.sh(f"kill -0 $(cat {home}/pid) && echo lives").strip():
                lines.append(f"the DHCP server of {network} does not run")
        return lines

    def instances(self) -> list[str]:
        """Instances that run, and no others."""
        wanted = {i.server_id for i in self.state.each(Instance) if i.power == "on"}
        off = {i.server_id for i in self.state.each(Instance)} - wanted
        home: Path = self.lab.lab.host(self.host) / "state/instances"
        there = {path.name for path in home.iterdir()} if home.is_dir() else set[str]()
        lines = sets("instance", wanted, there - off)
        for server in sorted(wanted & there):
            said = self.sh(f"cat {home / server / 'running'} 2>/dev/null").split()
            pid = said[0] if said else "-"
            if not self.sh(f"kill -0 {pid} && echo lives").strip():
                lines.append(f"instance {server} does not run")
        return lines


def cidr(text: str) -> str:
    """A destination as a NsRoute names it."""
    if text == "default":
        return "0.0.0.0/0"
    return text if "/" in text else f"{text}/32"
