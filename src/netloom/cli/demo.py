"""`netloom demo`: both walkthroughs on a lab, told step by step."""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import msgspec

from netloom.lab import checks, state
from netloom.lab.narrator import Narrator
from netloom.lab.openstack import OpenStack
from netloom.lab.topology import GATEWAYS
from netloom.lab.up import up
from netloom.lab.walkthrough import Walkthrough
from netloom.model.errors import UserError


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Say what the command takes."""
    parser.add_argument("--name", metavar="X", help="of the lab (default: netloom)")


@state.plain_errors()
def run(args: argparse.Namespace) -> int:
    """Start a lab where none runs, carry out both walkthroughs, leave the cloud running."""
    begun = time.monotonic()
    lab = state.find(args.name)
    checks.machine()
    tell = Narrator()
    tell.say("Netloom's demo: a cloud of one network host and two compute hosts, on this machine,")
    tell.say(
        "with real Open vSwitch, real namespaces and real packets. Nothing outside it is touched."
    )
    tell.part("The lab")
    known = lab.load()
    if known is not None and known.ready and known.alive:
        lab_state = known
        tell.say("  It is running already.")
    else:
        lab_state = up(lab, 2, say=lambda text: tell.say(f"  {text}"))
    with OpenStack(lab, lab.cloud) as client:
        walk = Walkthrough(lab, lab_state, client, tell)
        walk.clean()
        walk.common()
        walk.provider()
        walk.floating_ip()
    tell.part("The way of the ssh packet, hop by hop, from outside to the instance")
    explain(lab, walk.floating, tell)
    ending(lab, walk, tell, time.monotonic() - begun)
    return 0


def explain(lab: state.Lab, floating: str, tell: Narrator) -> None:
    """Let `netloom explain` say what the packet meets, and show the way there."""
    words = ["explain", GATEWAYS["public"], floating, "--protocol", "tcp", "--port", "22"]
    tell.command(f"netloom {' '.join(words)}")
    variables = {"OS_CLIENT_CONFIG_FILE": str(lab.clouds), "OS_CLOUD": lab.cloud}
    kept = {name: value for name, value in os.environ.items() if not name.startswith("OS_")}
    done = subprocess.run(
        [sys.executable, "-m", "netloom", *words, "--json"],
        capture_output=True,
        text=True,
        check=False,
        env={**kept, **variables},
    )
    if not done.stdout:
        raise UserError(f"netloom explain: {done.stderr.strip()[-300:]}")
    answer: dict[str, Any] = msgspec.json.decode(done.stdout)
    host = ""
    for number, hop in enumerate(answer["there"], start=1):
        if hop["host"] != host:
            host = hop["host"]
            tell.say(f"     {host}")
        tell.listed(f"{number:2d}. ", hop["text"])
    tell.say(f"     and {len(answer['back'])} hops back")
    if answer["verdict"] != "reachable":
        raise UserError(f"explain does not say what ssh has shown: {answer['sentence']}")
    tell.proved(f"{answer['sentence']} The command itself also says how to look at each hop.")


def ending(lab: state.Lab, walk: Walkthrough, tell: Narrator, seconds: float) -> None:
    """Say what was measured and how to go on."""
    measured = ", ".join(f"{what} {value:.1f} s" for what, value in walk.timings.items())
    tell.part(f"Both walkthroughs hold. {seconds:.0f} s in all; {measured}.")
    tell.say("The cloud goes on running. How to go on:")
    bin_folder = Path(sys.executable).parent
    path = "" if shutil.which("openstack") else f'export PATH="{bin_folder}:$PATH"; '
    tell.say(
        f'  any client:  {path}eval "$({state.command("env", lab.name)})"; openstack server list'
    )
    tell.say(
        f"  log in:      {state.command('exec', lab.name)} outside -- "
        f"ssh -i {walk.key} netloom@{walk.floating}"
    )
    tell.say(
        f"  look, end:   {state.command('status', lab.name)}; {state.command('down', lab.name)}"
    )
