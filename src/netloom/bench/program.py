"""`netloom bench`: the table of docs/performance.md, measured here and now."""

from __future__ import annotations

import argparse
import json
import os
import platform
import subprocess
import sys
import tempfile
import time
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

from msgspec import to_builtins

from netloom.bench import api as bench_api
from netloom.bench import bridge, crowd, failover, scale, store_scale, switch
from netloom.bench import lab as bench_lab
from netloom.bench.api import Endpoint
from netloom.bench.starting import free_port, token, wait
from netloom.lab import checks, state
from netloom.lab.down import down
from netloom.lab.up import up
from netloom.model.errors import UserError

PARTS = ("api", "scale", "store", "lab", "bridge", "switch", "crowd", "failover")
ALONE = ("store", "bridge", "switch", "crowd", "failover")
"""Parts that are measured where they are asked for alone."""

BEGIN, END = "<!-- netloom bench: begin -->", "<!-- netloom bench: end -->"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Say what the command takes."""
    parser.add_argument(
        "part",
        nargs="?",
        choices=PARTS,
        help=f"one part; {', '.join(ALONE)} only where named (all but api, scale and store need root)",
    )
    parser.add_argument("--only", choices=PARTS, help="the same as PART")
    parser.add_argument(
        "--rows",
        metavar="A,B",
        default="",
        help=f"of scale only these: {', '.join(scale.ROWS)}",
    )
    parser.add_argument(
        "--quick", action="store_true", help="scale with fewer hosts and ports: below two minutes"
    )
    parser.add_argument(
        "--samples", type=int, default=50, metavar="N", help="requests of each sort (default 50)"
    )
    parser.add_argument(
        "--times", type=int, default=10, metavar="N", help="failovers in a row (default 10)"
    )
    parser.add_argument(
        "--routers", type=int, default=0, metavar="N", help="HA routers that fail over together"
    )
    parser.add_argument(
        "--neutron",
        metavar="URL",
        help="a real Neutron without Keystone, to send the same requests (http://127.0.0.1:9696)",
    )
    parser.add_argument(
        "--write", metavar="FILE", help="put the table between the markers of this page"
    )
    parser.add_argument(
        "--instances", type=int, default=1000, metavar="N", help="of crowd (default 1000)"
    )
    parser.add_argument("--json", action="store_true", help="print JSON instead of a table")


def run(args: argparse.Namespace) -> int:
    """Measure, print, write."""
    ours: dict[str, float] = {}
    theirs: dict[str, float] = {}
    if args.samples < 1:
        raise UserError("--samples must be at least 1")
    if args.part and args.only and args.part != args.only:
        raise UserError(f"{args.part} and --only {args.only}: say one of them")
    only = args.part or args.only
    rows = [name for name in args.rows.split(",") if name]
    if (rows or args.quick) and only not in (None, "scale"):
        raise UserError(f"--rows and --quick are of scale, which {only} leaves out")
    if args.neutron and only not in (None, "api"):
        raise UserError(f"--neutron compares the API, which {only} leaves out")
    if only == "store":
        return store_part(args)
    if only == "failover":
        return failover_part(args)
    if only in ("bridge", "switch", "crowd"):
        return wire_part(args, only)
    if only in (None, "lab"):
        checks.machine()  # not only after minutes of the first part
    if only in (None, "api"):
        say("the API: a server of its own, tokens and policy on, durable writes")
        with server() as endpoint:
            ours |= bench_api.measure(endpoint, args.samples, say)
        if args.neutron:
            say(f"Neutron at {args.neutron}")
            # Without Keystone Neutron takes a caller who names no project for the administrator of one of its
            # own; with X-Project-Id alone it gives the request no context at all and refuses every create.
            beside = Endpoint(args.neutron, {})
            theirs = bench_api.measure(beside, args.samples, say)
            beside.close()
    if only in (None, "lab"):
        ours |= lab_part()
    figures: list[scale.Figure] = []
    if only in (None, "scale"):
        say("scale: servers and simulated hosts of its own")
        figures = scale.measure(rows, scale.QUICK if args.quick else scale.FULL, say)
    found = [table(ours, theirs)] if ours else []
    beyond = [f"{_machine()}\n\n{scale.table(figures)}"] if figures else []
    if args.json:
        print(json.dumps({"netloom": ours, "neutron": theirs, "scale": to_builtins(figures)}))
    else:
        print("\n\n".join([*found, *beyond]))
    if args.write:
        for text in found:
            write(Path(args.write), text)
        for text in beyond:
            write(Path(args.write), text, scale.BEGIN, scale.END)
    return 0


def store_part(args: argparse.Namespace) -> int:
    """Measure the store alone with few and with many ports."""
    few, many = store_scale.FEW, store_scale.MANY
    say(f"the store alone, with {few:,} and with {many:,} ports")
    lines = store_scale.measure(few, many, args.samples, say)
    text = store_scale.table(lines, few, many)
    print(json.dumps([[line.name, line.few, line.many] for line in lines]) if args.json else text)
    if args.write:
        write(Path(args.write), text, store_scale.BEGIN, store_scale.END)
    return 0


def failover_part(args: argparse.Namespace) -> int:
    """Start a lab with two network hosts and have HA routers fail over there."""
    checks.machine()
    lab = state.find("bench-failover")
    down(lab)
    try:
        running = up(lab, 1, networks=2, say=lambda text: say(f"  {text}"))
        endpoint = bench_lab.endpoint(running, lab)
        felt = failover.one(running, endpoint, args.times, say) if args.times else None
        many = failover.together(running, endpoint, args.routers, say) if args.routers else None
        endpoint.close()
    finally:
        down(lab)
    print(f"{_machine()}\n\n{failover.table(felt, many)}")
    return 0


def wire_part(args: argparse.Namespace, part: str) -> int:
    """Measure what packets meet on hosts with Linux bridges, or with Open vSwitch, in a lab of their own."""
    checks.machine()
    lab = state.find("bench")
    down(lab)
    try:
        computes = 4 if part == "crowd" else 2
        backend = "ovs" if part == "switch" else "linuxbridge"
        running = up(lab, computes, backend=backend, say=lambda text: say(f"  {text}"))
        if part == "bridge":
            found = bridge.measure(lab, running, say)
        elif part == "switch":
            found = switch.measure(lab, running, say)
        else:
            found = crowd.measure(lab, running, args.instances, say)
    finally:
        down(lab)
    print(json.dumps(found) if args.json else f"{_machine()}\n\n{bridge.table(found)}")
    return 0


def say(text: str) -> None:
    """Tell progress; the table alone goes to stdout."""
    print(text, file=sys.stderr, flush=True)


def lab_part() -> dict[str, float]:
    """Start a lab of three hosts, measure it, remove it."""
    checks.machine()
    lab = state.find("bench")
    say("the lab: one network host, two compute hosts")
    down(lab)
    begun = time.perf_counter()
    try:
        running = up(lab, 2, say=lambda text: say(f"  {text}"))
        found = {"lab up with 3 hosts": (time.perf_counter() - begun) * 1000}
        say(f"  lab up with 3 hosts: {found['lab up with 3 hosts'] / 1000:.1f} s")
        endpoint = bench_lab.endpoint(running, lab)
        found |= bench_lab.measure(lab, running, endpoint, say)
        endpoint.close()
        down(lab)
        found["demo, everything installed, from nothing to ssh"] = demo(lab)
        return found
    finally:
        down(lab)


def demo(lab: state.Lab) -> float:
    """Carry out `netloom demo` on a lab of its own; milliseconds from the command to its end."""
    begun = time.perf_counter()
    done = subprocess.run(
        [sys.executable, "-m", "netloom", "demo", "--name", lab.name],
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        words = (done.stderr.strip() or done.stdout.strip() or "it said nothing").splitlines()
        raise UserError(f"the demo failed: {words[-1]}")
    taken = (time.perf_counter() - begun) * 1000
    say(f"  demo: {taken / 1000:.1f} s")
    return taken


@contextmanager
def server() -> Generator[Endpoint]:
    """Run a server with an empty database; give its Networking API with an administrator's token."""
    with tempfile.TemporaryDirectory(prefix="netloom-bench-") as folder:
        port = free_port()
        config = Path(folder) / "server.toml"
        config.write_text(f'[server]\nlisten = "127.0.0.1:{port}"\nstate_dir = "{folder}/state"\n')
        log = Path(folder) / "log"
        with log.open("wb") as output:
            process = subprocess.Popen(
                [sys.executable, "-m", "netloom", "server", "--config", str(config)],
                stdout=output,
                stderr=output,
            )
        try:
            wait(process, port, Path(folder) / "state", log)
            endpoint = Endpoint(
                f"http://127.0.0.1:{port}/networking",
                {"X-Auth-Token": token(port, Path(folder) / "state")},
            )
            yield endpoint
            endpoint.close()
        finally:
            process.terminate()
            process.wait()


def table(ours: dict[str, float], theirs: dict[str, float]) -> str:
    """Write the figures as a Markdown table; with Neutron measured beside it, the ratio too."""
    lines = [
        f"{_machine()} Medians; authentication and policy on, durable writes.",
        "",
        "| work | Netloom | Neutron, same run | ratio |",
        "|---|---|---|---|",
    ]
    for name, value in ours.items():
        other = theirs.get(name)
        beside = (f"{_shown(name, other)} | {other / value:.1f}×") if other and value else "– | –"
        lines.append(f"| {name} | {_shown(name, value)} | {beside} |")
    return "\n".join(lines)


def _machine() -> str:
    return (
        f"Measured {time.strftime('%Y-%m-%d')} on {os.cpu_count()} cores, {platform.release()}, "
        f"load average {os.getloadavg()[0]:.1f} at the end."
    )


def _shown(name: str, value: float) -> str:
    if name.startswith("memory"):
        return f"{value:.0f} MiB"
    return f"{value:.1f} ms" if value < 1000 else f"{value / 1000:.1f} s"


def write(page: Path, text: str, begin_mark: str = BEGIN, end_mark: str = END) -> None:
    """Put the table between the markers of the page; a page without them is refused."""
    try:
        old = page.read_text()
    except OSError as error:
        raise UserError(f"cannot read {page}: {error.strerror}") from error
    before, begin, rest = old.partition(begin_mark)
    _, end, after = rest.partition(end_mark)
    if not begin or not end:
        raise UserError(
            f"{page} has not the lines {begin_mark} and {end_mark}, between which the table goes"
        )
    page.write_text(f"{before}{begin_mark}\n{text}\n{end_mark}{after}")
