"""`netloom bench scale`: what many hosts and many ports cost, as CPU time of the process that pays for it.

Each row makes a cloud of its own: a real server process with tokens, policy and durable writes; simulated hosts
(`netloom.agent.simulated`) with the real link and the real plan. CPU time, not wall time: the processes share the machine.
What a kernel or a switch would add on a host is not in it; how many flows it would have to change is.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from msgspec import Struct

from netloom.bench.scale_cloud import (
    ON_A_NETWORK,
    CloudSize,
    Listeners,
    fill,
    host_of,
    network_id,
    port_id,
)
from netloom.bench.scale_world import FIRST_TUNNEL_IP, Simulated, credentials, scale_world
from netloom.model.errors import UserError

Say = Callable[[str], None]

BEGIN, END = "<!-- netloom bench scale: begin -->", "<!-- netloom bench scale: end -->"


class Sizes(Struct, frozen=True, kw_only=True):
    """How large the rows are.

    `unconcerned`: hosts beside which changes are made that concern none of them; `requests`: how many changes. `idle`: hosts
    that have nothing to do for `seconds`. `local`: ports of a host. `network`: ports of a network, most of them elsewhere.
    `members`: of a security group, on `member_hosts`. `clouds`: a small one and a large one. `samples`: how often a change is
    made whose cost is told.
    """

    unconcerned: int = 200
    requests: int = 100
    idle: int = 500
    seconds: float = 40.0
    local: tuple[int, ...] = (50, 1000)
    network: tuple[int, ...] = (100, 1000, 10_000)
    members: int = 1000
    member_hosts: int = 20
    clouds: tuple[CloudSize, CloudSize] = (CloudSize(20, 50), CloudSize(2000, 5000))
    samples: int = 5


FULL = Sizes()
QUICK = Sizes(
    unconcerned=50,
    requests=40,
    idle=100,
    seconds=25.0,
    local=(50, 200),
    network=(100, 1000),
    members=100,
    member_hosts=5,
    clouds=(CloudSize(20, 10), CloudSize(100, 500)),
    samples=3,
)


class Figure(Struct, frozen=True):
    """One line of the table: what was measured, what came out, and what is to be reached (issue 7)."""

    work: str
    found: str
    reach: str = ""


Row = Callable[[Sizes], list[Figure]]


def unconcerned(sizes: Sizes) -> list[Figure]:
    """Changes that concern no host, beside many hosts and beside none."""
    names = [f"sim-{n + 1}" for n in range(sizes.unconcerned)]
    with scale_world(names) as world:
        world.introduce(names)
        # Each host has a port of one network, so that its view is not empty.
        world.ports(world.network("10.64.0.0/16"), names, len(names))

        def cost() -> float:
            begun = world.cpu()
            for _ in range(sizes.requests):
                world.endpoint.create("network")
            return (world.cpu() - begun) * 1000 / sizes.requests

        cost()  # the first ones compile what the others use
        alone = cost()
        hosts = world.start(names)
        time.sleep(3)  # the reports on the snapshots
        before = hosts.ask("counts").total
        beside = cost()
        time.sleep(6)  # each host's next heartbeat says that it is at the newest change
        after = hosts.ask("counts").total
        return [
            Figure(
                f"a change that concerns no host, {len(names)} hosts: plans, reports with rows",
                f"{after.plans - before.plans}, {after.posts - before.posts}",
                "0, 0",
            ),
            Figure(
                "the same: server CPU of the request, as against without hosts",
                f"{beside:.1f} / {alone:.1f} ms = {beside / alone:.2f} ×",
                "≤ 1.2 ×",
            ),
        ]


def idle(sizes: Sizes) -> list[Figure]:
    """Hosts that have nothing to say but that they live."""
    names = [f"sim-{n + 1}" for n in range(sizes.idle)]
    with scale_world(names) as world:
        world.introduce(names)

        def share() -> float:
            begun, at = world.cpu(), time.perf_counter()
            time.sleep(sizes.seconds)
            return (world.cpu() - begun) / (time.perf_counter() - at) * 100

        time.sleep(2)
        alone = share()
        # Two hundred a process: its threads must not wait for each other.
        for start in range(0, len(names), 200):
            world.start(names[start : start + 200])
        time.sleep(10)  # the first reports
        beside = share()
        many = alone + (beside - alone) * 2000 / len(names)
        return [
            Figure(
                f"{len(names)} idle hosts: server CPU (without hosts {alone:.1f} %)",
                f"{beside:.1f} % of one core",
            ),
            Figure("2,000 idle hosts, from that", f"{many:.0f} % of one core", "≤ 15 %"),
            Figure(f"memory of the server with {len(names)} hosts", f"{world.memory():.0f} MiB"),
        ]


def local(sizes: Sizes) -> list[Figure]:
    """One port more on a host that has many; its agent begins anew."""
    found: list[Figure] = []
    for count in sizes.local:
        with scale_world(["sim-1"]) as world:
            world.introduce(["sim-1"])
            network = world.network("10.64.0.0/16")
            world.ports(network, ["sim-1"], count)
            host = world.start(["sim-1"])
            cost, flows = _each_time(
                host, sizes.samples, lambda w=world, n=network: w.ports(n, ["sim-1"], 1)
            )
            reach = {50: "≤ 5 ms", 1000: "≤ 8 ms"}.get(count, "")
            name = f"one port bound on a host with {count:,} local ports: CPU of the host; flows"
            found.append(Figure(name, f"{cost:.0f} ms; {flows}", reach))
        if count == sizes.local[-1]:
            found += _restart(count)
    return found


def _restart(count: int) -> list[Figure]:
    with scale_world(["sim-1"]) as world:
        world.introduce(["sim-1"])
        world.ports(world.network("10.64.0.0/16"), ["sim-1"], count)
        host = world.start(["sim-1"])
        time.sleep(2)
        begun = time.perf_counter()
        host.ask("restart sim-1")
        after = host.ask("wait 1")
        seconds = time.perf_counter() - begun
        name = f"agent restart, {count:,} ports on the host: until in sync; changes"
        return [Figure(name, f"{seconds:.1f} s; {after.total.changes}", "≤ 2 s; 0")]


def elsewhere(sizes: Sizes) -> list[Figure]:
    """One port more in a network that has many on other hosts, for a host with one port of it."""
    found: list[Figure] = []
    others = [f"far-{n + 1}" for n in range(20)]
    for count in sizes.network:
        with scale_world(["sim-1", *others]) as world:
            world.introduce(["sim-1", *others])
            network = world.network("10.64.0.0/14")
            world.ports(network, others, count - 1)
            world.ports(network, ["sim-1"], 1)
            host = world.start(["sim-1"])
            cost, flows = _each_time(
                host, sizes.samples, lambda w=world, n=network: w.ports(n, others, 1)
            )
            name = f"the same, for another host of a network with {count:,} ports"
            found.append(Figure(name, f"{cost:.0f} ms; {flows}", "≤ 3 ms"))
    return found


def group(sizes: Sizes) -> list[Figure]:
    """One member more of a large security group whose rules name the group itself."""
    names = [f"sim-{n + 1}" for n in range(sizes.member_hosts)]
    with scale_world(names) as world:
        world.introduce(names)
        network = world.network("10.64.0.0/16")
        # The default group lets its members in: a port without `security_groups` is in it.
        world.ports(network, names, sizes.members)
        hosts = world.start(names)
        cost, flows = _each_time(
            hosts, sizes.samples, lambda: world.ports(network, names[:1], 1), len(names)
        )
        each = cost / len(names)
        work = f"a group with {sizes.members:,} members over {len(names)} hosts gets one more: CPU of a host; flows"
        return [Figure(work, f"{each:.0f} ms; {flows / len(names):.0f}", "≤ 5 ms")]


def cloud(sizes: Sizes) -> list[Figure]:
    """A small cloud and a large one: start, memory, a create, the way of a step to its hosts, a question to explain."""
    small, large = (_of_cloud(size, sizes.samples * 4) for size in sizes.clouds)
    size = sizes.clouds[1]
    of = f"{size.hosts:,} hosts, {size.networks:,} networks, {size.ports:,} ports"
    ratio = large.create / small.create
    few = f"{sizes.clouds[0].ports:,} ports"
    return [
        Figure(
            f"{of}: port create, server CPU, as against {few}",
            f"{large.create:.1f} / {small.create:.1f} ms = {ratio:.2f} ×",
            "≤ 1.5 ×",
        ),
        Figure(
            f"{of}: from the answer until each concerned host has its step (at {few})",
            f"{large.step:.0f} ms ({small.step:.0f} ms)",
            "≤ 100 ms",
        ),
        Figure(
            f"{of}: memory of the server, all hosts streaming",
            f"{large.memory:.0f} MiB",
            "≤ 1,536 MiB",
        ),
        Figure(f"{of}: server start until it answers", f"{large.start:.1f} s", "≤ 20 s"),
        Figure(
            f"{of}: explain, one question, server CPU (at {few})",
            f"{large.explain:.2f} s ({small.explain:.2f} s)",
            "≤ 0.3 s",
        ),
    ]


class _Cloud(Struct, frozen=True):
    """What one cloud cost: seconds for `start` and `explain`, milliseconds for `create` and `step`, MiB."""

    start: float
    memory: float
    create: float
    step: float
    explain: float


def _of_cloud(size: CloudSize, samples: int) -> _Cloud:
    names = [f"sim-{n + 1}" for n in range(size.hosts)]
    words: dict[str, str] = {}

    def put(folder: Path) -> None:
        words.update(credentials(folder, names))
        fill(folder / "state" / "netloom.db", size, words, FIRST_TUNNEL_IP)

    with scale_world(names, put) as world:
        listeners = Listeners(world.folder / "hosts.sock", words)
        world.settle()
        create: list[float] = []
        step: list[float] = []
        for number in range(-2, samples):
            at = (number * 3 + 7) % size.networks
            body = {"network_id": network_id(at), "binding:host_id": host_of(size, at, 1)}
            listeners.expect(network_id(at))
            before = world.cpu()
            world.endpoint.ask("POST", "ports", {"port": body})
            answered, spent = time.perf_counter(), world.cpu()
            hosts = {host_of(size, at, place) for place in range(1, ON_A_NETWORK)}
            came = listeners.all_came(len(hosts))
            if number >= 0:
                create.append((spent - before) * 1000)
                step.append(max(came - answered, 0.0) * 1000)
            time.sleep(0.2)
        memory = world.memory()
        seconds: list[float] = []
        for number in range(3):
            begun = world.cpu()
            at = number * 2 % size.networks
            world.explain(port_id(at, 1), port_id(at, 2))
            seconds.append(world.cpu() - begun)
        listeners.end()
        explain = statistics.median(seconds)
        return _Cloud(
            world.started_in, memory, statistics.mean(create), statistics.median(step), explain
        )


def _each_time(
    hosts: Simulated, samples: int, change: Callable[[], object], plans: int = 1
) -> tuple[float, float]:
    """Make a change several times; returns medians: CPU milliseconds of the hosts' process, flows changed.

    `plans`: how many there are until all hosts that it concerns have carried it out.
    """
    costs: list[float] = []
    flows: list[int] = []
    time.sleep(1.5)  # the reports on what was before
    for _ in range(samples):
        before = hosts.ask("counts")
        change()
        after = hosts.ask(f"wait {before.total.plans + plans}")
        costs.append((after.cpu_seconds - before.cpu_seconds) * 1000)
        flows.append(after.total.flows - before.total.flows)
        time.sleep(0.3)
    return statistics.median(costs), statistics.median(flows)


ROWS: dict[str, Row] = {
    "unconcerned": unconcerned,
    "idle": idle,
    "local": local,
    "elsewhere": elsewhere,
    "group": group,
    "cloud": cloud,
}
"""Name for `--rows` → what it measures."""


def measure(rows: Sequence[str], sizes: Sizes, say: Say) -> list[Figure]:
    """Measure these rows, in the table's order; none named: all."""
    unknown = [name for name in rows if name not in ROWS]
    if unknown:
        raise UserError(f"there is no row {unknown[0]}; there are {', '.join(ROWS)}")
    found: list[Figure] = []
    for name, row in ROWS.items():
        if rows and name not in rows:
            continue
        say(f"{name}: {(row.__doc__ or '').strip()}")
        figures = row(sizes)
        for figure in figures:
            say(f"  {figure.work}: {figure.found}")
        found += figures
    return found


def table(figures: Sequence[Figure]) -> str:
    """Write the figures as a Markdown table."""
    lines = ["| work | measured | to reach |", "|---|---|---|"]
    return "\n".join([*lines, *(f"| {f.work} | {f.found} | {f.reach} |" for f in figures)])
