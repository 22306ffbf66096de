"""`python -m tests.soak`: see README.md beside this file."""

from __future__ import annotations

import argparse
import os
import shutil
import socket
import sys
import tempfile
import time
from functools import partial
from pathlib import Path

from netloom.lab import down, state, up
from tests.soak.run import Soak
from tests.support.running_lab import RunningLab


def free_port() -> int:
    """A port of 127.0.0.1 that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def main() -> int:
    """Run it in a lab of its own; exit status 1 where anything was wrong. Logs are kept then."""
    parser = argparse.ArgumentParser(prog="soak", description=__doc__, allow_abbrev=False)
    parser.add_argument("--seconds", type=float, default=600)
    parser.add_argument("--seed", default=str(int(time.time())))
    parser.add_argument("--logs", type=Path, default=Path(".state/soak-logs"))
    given = parser.parse_args()
    say = partial(print, flush=True)
    say(f"seed {given.seed}: repeat with `make soak SEED={given.seed} SECONDS={given.seconds:.0f}`")
    with tempfile.TemporaryDirectory(prefix="nl") as folder:
        os.environ["NETLOOM_STATE"] = folder
        lab = state.find("soak")
        faults = ["it did not end"]
        try:
            # Not the usual port: other labs that start at the same moment look for that one.
            running = up.up(lab, 2, port=free_port(), say=say)
            try:
                faults = Soak(RunningLab(lab, running), given.seed, say).run(given.seconds)
            finally:
                if faults:
                    shutil.rmtree(given.logs, ignore_errors=True)
                    given.logs.mkdir(parents=True)
                    for log in [
                        *lab.directory.glob("*.log"),
                        *lab.directory.glob("hosts/*/logs/*"),
                    ]:
                        name = "-".join(log.relative_to(lab.directory).parts)
                        shutil.copyfile(log, given.logs / name)
                    say(f"logs: {given.logs}")
        finally:
            down.down(lab)
    return 1 if faults else 0


if __name__ == "__main__":
    sys.exit(main())
