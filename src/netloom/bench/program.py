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

import httpx

from netloom.bench import api as bench_api
from netloom.bench import lab as bench_lab
from netloom.bench import store_scale
from netloom.bench.api import Endpoint
from netloom.lab import checks, state
from netloom.lab.down import down
from netloom.lab.up import up
from netloom.model.errors import UserError


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Say what the command takes."""
    parser.add_argument("--only", choices=("api", "lab", "store"), help="one part (lab needs root)")
    parser.add_argument(
        "--samples", type=int, default=50, metavar="N", help="requests of each sort (default 50)"
    )
    parser.add_argument(
        "--neutron",
        metavar="URL",
        help="a real Neutron without Keystone, to send the same requests (http://127.0.0.1:9696)",
    )
    parser.add_argument(
        "--write", metavar="FILE", help="put the table between the markers of this page"
    )
    parser.add_argument("--json", action="store_true", help="print JSON instead of a table")


def run(args: argparse.Namespace) -> int:
    """Measure, print, write."""
    ours: dict[str, float] = {}
    theirs: dict[str, float] = {}
    if args.samples < 1:
        raise UserError("--samples must be at least 1")
    if args.neutron and args.only in ("lab", "store"):
        raise UserError(f"--neutron compares the API, which --only {args.only} leaves out")
    if args.only == "store":
        return store_part(args)
    if args.only != "api":
        checks.machine()  # not only after minutes of the first part
    if args.only != "lab":
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
    if args.only != "api":
        ours |= lab_part()
    print(json.dumps({"netloom": ours, "neutron": theirs}) if args.json else table(ours, theirs))
    if args.write:
        write(Path(args.write), table(ours, theirs), "netloom bench")
    return 0


def store_part(args: argparse.Namespace) -> int:
    """Measure the store alone with few and with many ports."""
    few, many = store_scale.FEW, store_scale.MANY
    say(f"the store alone, with {few:,} and with {many:,} ports")
    lines = store_scale.measure(few, many, args.samples, say)
    text = store_scale.table(lines, few, many)
    print(json.dumps([[line.name, line.few, line.many] for line in lines]) if args.json else text)
    if args.write:
        write(Path(args.write), text, "netloom bench store")
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
        port = checks.choose_port(None)
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
            _wait(process, port, log)
            endpoint = Endpoint(
                f"http://127.0.0.1:{port}/networking",
                {"X-Auth-Token": _token(port, Path(folder) / "state")},
            )
            yield endpoint
            endpoint.close()
        finally:
            process.terminate()
            process.wait()


def _wait(process: subprocess.Popen[bytes], port: int, log: Path) -> None:
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline and process.poll() is None:
        try:
            httpx.get(f"http://127.0.0.1:{port}/", timeout=1, trust_env=False)
            return
        except httpx.TransportError:
            time.sleep(0.1)
    words = log.read_text().strip().splitlines()
    raise UserError(f"the server did not start: {words[-1] if words else 'it said nothing'}")


def _token(port: int, folder: Path) -> str:
    password = json.loads((folder / "first-passwords.json").read_text())["admin"]
    domain = {"id": "default"}
    user = {"name": "admin", "password": password, "domain": domain}
    body = {
        "auth": {
            "identity": {"methods": ["password"], "password": {"user": user}},
            "scope": {"project": {"name": "admin", "domain": domain}},
        }
    }
    answer = httpx.post(
        f"http://127.0.0.1:{port}/identity/v3/auth/tokens", json=body, trust_env=False
    )
    return answer.raise_for_status().headers["x-subject-token"]


def table(ours: dict[str, float], theirs: dict[str, float]) -> str:
    """Write the figures as a Markdown table; with Neutron measured beside it, the ratio too."""
    lines = [
        f"Measured {time.strftime('%Y-%m-%d')} on {os.cpu_count()} cores, {platform.release()}, "
        f"load average {os.getloadavg()[0]:.1f} at the end. Medians; authentication and policy on, durable writes.",
        "",
        "| work | Netloom | Neutron, same run | ratio |",
        "|---|---|---|---|",
    ]
    for name, value in ours.items():
        other = theirs.get(name)
        beside = (f"{_shown(name, other)} | {other / value:.1f}×") if other and value else "– | –"
        lines.append(f"| {name} | {_shown(name, value)} | {beside} |")
    return "\n".join(lines)


def _shown(name: str, value: float) -> str:
    if name.startswith("memory"):
        return f"{value:.0f} MiB"
    return f"{value:.1f} ms" if value < 1000 else f"{value / 1000:.1f} s"


def write(page: Path, text: str, name: str) -> None:
    """Put the table between the markers of this name in the page; a page without them is refused."""
    first, last = f"<!-- {name}: begin -->", f"<!-- {name}: end -->"
    try:
        old = page.read_text()
    except OSError as error:
        raise UserError(f"cannot read {page}: {error.strerror}") from error
    before, begin, rest = old.partition(first)
    _, end, after = rest.partition(last)
    if not begin or not end:
        raise UserError(
            f"{page} has not the lines {first} and {last}, between which the table goes"
        )
    page.write_text(f"{before}{first}\n{text}\n{last}{after}")
