"""What routers add to a round trip, and how long a moved floating IP is away: `python -m netloom.bench.routers`, as root, on a lab of its own.

Pings between ports on two hosts, and from outside to a port. The ways without a router are measured in every round
beside the others, so that what else the machine does meets all of them; what is compared is what each adds to them.
"""

from __future__ import annotations

import re
import statistics
import subprocess
import sys
import time
from typing import Any

from netloom.bench import lab as bench_lab
from netloom.bench.failover import EVERY, SETTLE, Pings
from netloom.bench.lab import inside, lease, let_ping_in, plug, until, until_active
from netloom.lab import hosts, wiring
from netloom.lab.processes import Process
from netloom.lab.state import Lab, LabState, find
from netloom.lab.topology import OUTSIDE
from netloom.lab.up import temporary
from netloom.model.errors import UserError

ROUNDS, PINGS, BETWEEN = 5, 300, 0.003
"""Rounds of each way, pings in one, and seconds between two pings."""
MOVES = 10
INSIDE, OUTWARD = "east-west", "floating IP"

Way = tuple[Process, str, str]
"""Where from: a host and a namespace there (empty: the host's own); and the address."""


class Bench:
    """Ports on two hosts, on one network and on another behind a router, and one on the external network itself."""

    def __init__(self, lab: Lab, state: LabState) -> None:
        self.api = api = bench_lab.endpoint(state, lab)
        one, two = (hosts.find(state, name) for name in ("compute1", "compute2"))
        red, blue = (self._network(cidr) for cidr in ("10.81.0.0/24", "10.82.0.0/24"))
        public = bench_lab.public(api)
        (source,), (plain,) = plug(api, one, red), plug(api, two, red, host="compute2")
        (routed,) = plug(api, two, blue, host="compute2")
        let_ping_in(api, source)
        for compute, port in ((one, source), (two, plain), (two, routed)):
            until_active(api, port)
            lease(compute, port)
        (wired,) = plug(api, one, public, mtu=1500)
        until_active(api, wired)
        own = wired["fixed_ips"][0]["ip_address"]
        _run(one, inside(wired), "ip", "address", "add", f"{own}/24", "dev", "eth0")
        gateway = {"network_id": public["id"]}
        self.router = api.create("router", external_gateway_info=gateway, distributed=False)
        for network in (red, blue):
            body = {"subnet_id": network["subnet"]["id"]}
            api.ask("PUT", f"routers/{self.router['id']}/add_router_interface", body)
        self.floating = api.create(
            "floatingip", floating_network_id=public["id"], port_id=source["id"]
        )
        self.ends = source, routed
        floating = self.floating["floating_ip_address"]
        outside = hosts.find(state, OUTSIDE)
        at = inside(source)
        self.plain: dict[str, Way] = {
            INSIDE: (one, at, plain["fixed_ips"][0]["ip_address"]),
            OUTWARD: (outside, "", own),
        }
        self.routed: dict[str, Way] = {
            INSIDE: (one, at, routed["fixed_ips"][0]["ip_address"]),
            OUTWARD: (outside, "", floating),
        }

    def _network(self, cidr: str) -> Any:
        made = self.api.create("network")
        made["subnet"] = self.api.create("subnet", network_id=made["id"], ip_version=4, cidr=cidr)
        return made

    def spread(self, distributed: bool) -> None:
        """Make the router a distributed or a central one."""
        path = f"routers/{self.router['id']}"
        self.api.ask("PUT", path, {"router": {"admin_state_up": False}})
        self.api.ask("PUT", path, {"router": {"distributed": distributed}})
        self.api.ask("PUT", path, {"router": {"admin_state_up": True}})
        for way in self.routed.values():
            until(lambda way=way: round_trip(way, 1) is not None, f"{way[2]} does not answer")

    def move(self, number: int) -> None:
        """Have the floating IP lead to a port on the other host."""
        body = {"floatingip": {"port_id": self.ends[number % 2]["id"]}}
        self.api.ask("PUT", f"floatingips/{self.floating['id']}", body)


def round_trip(way: Way, count: int = PINGS) -> float | None:
    """The median round trip of some pings in milliseconds; None where one was not answered."""
    host, namespace, address = way
    said = _run(host, namespace, "ping", "-n", "-c", str(count), "-i", str(BETWEEN), address)
    times = [float(found) for found in re.findall(r"time=([\d.]+)", said)]
    return statistics.median(times) if len(times) == count else None


def _run(host: Process, namespace: str, *command: str) -> str:
    inside = ["ip", "netns", "exec", namespace] if namespace else []
    line = wiring.inside(host, [*inside, *command])
    return subprocess.run(line, capture_output=True, text=True, check=False, timeout=60).stdout


def measure(bench: Bench) -> dict[tuple[str, str], float]:
    """(way, kind of router) → milliseconds that it adds, the median of the rounds."""
    added: dict[tuple[str, str], list[float]] = {}
    for kind in ("central", "distributed"):
        bench.spread(kind == "distributed")
        for _ in range(ROUNDS):
            for name, way in bench.plain.items():
                base, through = round_trip(way), round_trip(bench.routed[name])
                if base is None or through is None:
                    raise UserError(f"{name}: pings were lost")
                added.setdefault((name, kind), []).append(through - base)
                print(f"  {name}, {kind}: {base:.3f} ms without, {through:.3f} ms", flush=True)
    return {key: statistics.median(rounds) for key, rounds in added.items()}


def moved(bench: Bench) -> list[float]:
    """Seconds without an answer, each time that a floating IP of a distributed router moves to another host."""
    outside, _, address = bench.routed[OUTWARD]
    line = {OUTWARD: wiring.inside(outside, ["ping", "-n", "-D", "-i", str(EVERY), address])}
    found: list[float] = []
    for number in range(1, MOVES + 1):
        with Pings(line) as pings:
            bench.move(number)
            time.sleep(SETTLE)
        found.append(pings.longest[OUTWARD])
        print(f"  moved to the other host: {found[-1]:.2f} s without an answer", flush=True)
    return found


def main() -> int:
    """Measure and print."""
    lab = find("routers")
    with temporary(lab, 2) as state:
        bench = Bench(lab, state)
        added = measure(bench)
        gaps = moved(bench)
    for name in (INSIDE, OUTWARD):
        central, distributed = added[name, "central"], added[name, "distributed"]
        print(
            f"{name}: a central router adds {central:.3f} ms, a distributed one {distributed:.3f} ms: "
            f"{distributed / central:.2f} of it"
        )
    print(
        f"floating IP of a distributed router moved to another host, {len(gaps)} times: without an answer for"
        f" {statistics.median(gaps):.2f} s (median), {max(gaps):.2f} s (worst)"
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
