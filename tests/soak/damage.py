"""What is broken: on hosts as an operator's mistake, a bug or the kernel would, and the server itself."""

from __future__ import annotations

import os
import random
import re
import signal
from collections.abc import Callable

from netloom.lab import up
from netloom.model.errors import UserError
from tests.support.running_lab import RunningLab

HOSTS = ("network1", "compute1", "compute2")


class Damages:
    """Breaks one thing by chance. `api_gone` and `api_back` are called around a kill of the API server."""

    def __init__(
        self,
        lab: RunningLab,
        draw: random.Random,
        api_gone: Callable[[], None],
        api_back: Callable[[], None],
    ) -> None:
        self.lab, self.draw = lab, draw
        self._gone, self._back = api_gone, api_back

    def any(self) -> str:
        """Break something; returns what, empty where there was nothing of that sort."""
        kinds = [
            self.device_deleted, self.device_down, self.port_taken_out, self.dnsmasq_killed, self.namespace_deleted,
            self.flows_deleted, self.agent_killed, self.switch_killed, self.database_killed, self.setting_changed,
            self.instance_killed, self.address_removed, self.route_removed, self.nat_flushed, self.api_killed,
            self.groups_deleted,
        ]  # fmt: skip
        kind = self.draw.choice(kinds)
        host = self.draw.choice(HOSTS)
        where = kind(host)
        return f"{kind.__name__} {where}" if where else ""

    def _one(self, host: str, command: str) -> str:
        """One of the words that a command of a host prints."""
        words = sorted(self.lab.exec(host, "sh", "-c", command, check=False).split())
        return self.draw.choice(words) if words else ""

    def _do(self, host: str, *command: str) -> str:
        self.lab.exec(host, *command, check=False)
        return f"{host}: {' '.join(command)}"

    def _tap(self, host: str) -> str:
        return self._one(host, "ls /sys/class/net | grep ^tap")

    def _namespace(self, host: str, kind: str = "q") -> str:
        return self._one(host, f"ip netns list | cut -d' ' -f1 | grep ^{kind}")

    def device_deleted(self, host: str) -> str:
        tap = self._tap(host)
        return self._do(host, "ip", "link", "del", tap) if tap else ""

    def device_down(self, host: str) -> str:
        tap = self._tap(host)
        return self._do(host, "ip", "link", "set", tap, "down") if tap else ""

    def port_taken_out(self, host: str) -> str:
        port = self._one(host, "ovs-vsctl list-ports br-int")
        return self._do(host, "ovs-vsctl", "del-port", "br-int", port) if port else ""

    def dnsmasq_killed(self, host: str) -> str:
        pid = self._one(host, "cat /run/netloom/agent/dhcp/*/pid 2>/dev/null")
        return self._do(host, "kill", "-9", pid) if pid else ""

    def namespace_deleted(self, host: str) -> str:
        name = self._namespace(host)
        return self._do(host, "ip", "netns", "del", name) if name else ""

    def flows_deleted(self, host: str) -> str:
        table = self.draw.choice(["", "table=0", "table=31", "table=40", "table=51", "table=60"])
        return self._do(host, "ovs-ofctl", "del-flows", "br-int", *([table] if table else []))

    def groups_deleted(self, host: str) -> str:
        """All of them, or one: the flows that name it go with it."""
        script = "ovs-ofctl -O OpenFlow15 dump-groups br-int | sed -n 's/.*group_id=\\([0-9]*\\),.*/\\1/p'"
        group = self._one(host, script)
        some = [f"group_id={group}"] if group and self.draw.random() < 0.7 else []
        return self._do(host, "ovs-ofctl", "-O", "OpenFlow15", "del-groups", "br-int", *some)

    def _service(self, host: str, name: str) -> str:
        pid = (self.lab.lab.host(host) / "services" / name).read_text().strip()
        self._do(host, "kill", "-9", pid)
        return f"{host}: kill -9 {name}"

    def agent_killed(self, host: str) -> str:
        return self._service(host, "agent")

    def switch_killed(self, host: str) -> str:
        return self._service(host, "ovs-vswitchd")

    def database_killed(self, host: str) -> str:
        return self._service(host, "ovsdb-server")

    def setting_changed(self, host: str) -> str:
        name = self._namespace(host)
        setting = self.draw.choice(
            ["net.ipv4.ip_forward", "net.ipv4.conf.all.rp_filter", "net.ipv4.conf.all.arp_ignore"]
        )
        if not name:
            return ""
        value = "0" if name.startswith("qrouter") and setting.endswith("forward") else "1"
        return self._do(host, "ip", "netns", "exec", name, "sysctl", "-qw", f"{setting}={value}")

    def instance_killed(self, host: str) -> str:
        folder = self.lab.lab.host(host) / "state/instances"
        known = sorted(path for path in folder.glob("*/running")) if folder.is_dir() else []
        if not known:
            return ""
        words = self.draw.choice(known).read_text().split()
        return self._do(host, "kill", "-9", words[0]) if words else ""

    def address_removed(self, host: str) -> str:
        name = self._namespace(host)
        script = "ip -o -4 addr show | grep -v ' lo ' | awk '{print $2\" \"$4}' | head -1"
        found = self.lab.exec(
            host, "ip", "netns", "exec", name or "-", "sh", "-c", script, check=False
        )
        if not name or not found.split():
            return ""
        device, address = found.split()
        return self._do(host, "ip", "-n", name, "addr", "del", address, "dev", device)

    def route_removed(self, host: str) -> str:
        name = self._namespace(host, "qrouter")
        return self._do(host, "ip", "-n", name, "route", "del", "default") if name else ""

    def nat_flushed(self, host: str) -> str:
        name = self._namespace(host, "qrouter")
        words = ("ip", "netns", "exec", name, "nft", "flush", "ruleset")
        return self._do(host, *words) if name else ""

    def api_killed(self, host: str) -> str:
        del host
        server = self.lab.process("server")
        self._gone()
        os.kill(server.pid, signal.SIGKILL)
        RunningLab.until(lambda: not server.alive, 30)
        fresh = up.start_server(self.lab.lab)
        self.lab.state.processes["server"] = fresh
        self.lab.lab.save(self.lab.state)
        for patience in (1, 2, 3):  # a minute each: the machine may be busy with other things
            try:
                up.wait_server(self.lab.lab, fresh, self.lab.state.port)
                break
            except UserError:
                if patience == 3 or not fresh.alive:
                    raise
        self._back()
        return "kill -9 the API server"


def lost_by(damage: str, patience: dict[str, float]) -> float:
    """For how many seconds a damage may cut contact; `patience`: a pattern → seconds, the first that fits."""
    return next(seconds for pattern, seconds in patience.items() if re.search(pattern, damage))
