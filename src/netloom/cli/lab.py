"""`netloom lab`: many hosts on this machine."""

from __future__ import annotations

import argparse
import json
import os
import sys
from pathlib import Path

from netloom.lab import checks, hosts, settings, state, wiring
from netloom.lab.down import down
from netloom.model.errors import UserError
from netloom.model.hosts import Backend

BACKENDS: tuple[Backend, ...] = ("ovs", "linuxbridge")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Say what the command takes."""
    verbs = parser.add_subparsers(dest="verb", metavar="VERB", required=True)

    start = verbs.add_parser(
        "up", help="start a lab: a network host, compute hosts, a cloud ready to use"
    )
    start.add_argument(
        "--hosts", type=int, default=2, metavar="N", help="compute hosts (default 2)"
    )
    start.add_argument(
        "--network-hosts", type=int, default=1, metavar="N", help="network hosts (default 1)"
    )
    start.add_argument(
        "--simulated",
        type=int,
        default=0,
        metavar="N",
        help="beside them hosts sim-1, sim-2, … in one process, which only remember what they would apply",
    )
    start.add_argument("--bare", action="store_true", help="without the external network public")
    start.add_argument(
        "--overlay-ip-version",
        type=int,
        choices=(4, 6),
        default=4,
        help="of the addresses between which tunnels run (default 4)",
    )
    start.add_argument(
        "--backend",
        choices=BACKENDS,
        default="ovs",
        help="what carries networks on its hosts: Open vSwitch (default) or Linux bridges",
    )
    start.add_argument(
        "--host-backend",
        metavar="HOST=BACKEND",
        action="append",
        default=[],
        help="of one host, where it is another one (may be given several times)",
    )
    start.add_argument("--port", type=int, metavar="PORT", help="port of the API on 127.0.0.1")
    end = verbs.add_parser("down", help="remove it, whatever state it is in")
    end.add_argument("--all", action="store_true", help="remove every lab of the state folder")
    run_in = verbs.add_parser("exec", help="run a command in a host: lab exec HOST -- CMD")
    run_in.add_argument(
        "host", metavar="HOST", help="network1, compute1, … or outside, which plays the internet"
    )
    run_in.add_argument("argv", nargs=argparse.REMAINDER, metavar="CMD")
    show = verbs.add_parser("status", help="every host, what it lags behind, every error by object")
    show.add_argument("--json", action="store_true", help="the same for programs")
    environment = verbs.add_parser(
        "env", help='shell lines that name the lab as your cloud: eval "$(netloom lab env)"'
    )
    environment.add_argument(
        "--plain",
        action="store_true",
        help="OS_USERNAME and its like, for clients that read no clouds.yaml (then --os-cloud means nothing)",
    )
    environment.add_argument(
        "--user",
        choices=("admin", "demo"),
        default="admin",
        help="whose cloud to name: the administrator's (default) or the plain user's",
    )
    for verb in (start, end, run_in, show, environment):
        verb.add_argument("--name", metavar="X", help="of the lab (default: netloom)")


@state.plain_errors()
def run(args: argparse.Namespace) -> int:
    """Carry out the verb."""
    if args.verb == "exec":
        args.name, args.argv = name_after_host(args.name, args.argv)
    lab = state.find(args.name)
    checks.root()
    # `up` and `status` load the server's rooms: not before they are needed, so that `exec` starts at once.
    if args.verb == "up":
        from netloom.lab.up import up

        up(
            lab,
            args.hosts,
            networks=args.network_hosts,
            simulated=args.simulated,
            bare=args.bare,
            overlay_ip_version=args.overlay_ip_version,
            backend=args.backend,
            backends=_backends(args.host_backend),
            port=args.port,
        )
        print(f'use it with: eval "$({state.command("env", lab.name)})"')
    elif args.verb == "down":
        for each in [lab, *(other for other in state.all_labs() if args.all and other != lab)]:
            print(f"lab {each.name!r} is gone" if down(each) else f"there is no lab {each.name!r}")
    elif args.verb == "exec":
        execute(lab, args.host, args.argv)
    elif args.verb == "status":
        from netloom.lab import status

        found = status.collect(lab)
        print(json.dumps(found, indent=2) if args.json else status.text(found))
        return 0 if found["well"] else 1
    else:
        print(settings.exports(lab, lab.running().port, args.user, args.plain), end="")
    return 0


def _backends(words: list[str]) -> dict[str, Backend]:
    """What HOST=BACKEND says of each host."""
    found: dict[str, Backend] = {}
    for word in words:
        host, _, name = word.partition("=")
        backend: Backend | None = next((each for each in BACKENDS if each == name), None)
        if not host or backend is None:
            raise UserError(f"--host-backend takes HOST=ovs or HOST=linuxbridge, not {word!r}")
        found[host] = backend
    return found


def name_after_host(name: str | None, argv: list[str]) -> tuple[str | None, list[str]]:
    """Take `--name X` out of what follows HOST, as far as the command has not begun."""
    if argv[:1] == ["--name"] and len(argv) > 1:
        return argv[1], argv[2:]
    if argv and argv[0].startswith("--name="):
        return argv[0].removeprefix("--name="), argv[1:]
    return name, argv


def execute(lab: state.Lab, host: str, argv: list[str]) -> None:
    """Become the command in the host, in the same working folder; never returns."""
    command = argv[1:] if argv[:1] == ["--"] else argv
    if not command:
        raise UserError(f"say what to run: netloom lab exec {host} -- ip address")
    process = hosts.find(lab.running(), host)
    sys.stdout.flush()
    line = wiring.inside(process, ["env", f"--chdir={Path.cwd()}", "TMPDIR=/run/tmp", *command])
    os.execvp(line[0], line)
