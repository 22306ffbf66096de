"""Disks of instances: made anew where one was mounted a moment ago."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.root

AGAIN = """
import sys
from pathlib import Path
from netloom.instances import volume
top = Path(sys.argv[1])
for _ in range(40):
    (top / "place").mkdir(exist_ok=True)
    volume.make(top / "disk", 1 << 24)
    volume.mount(top / "disk", top / "place")
    (top / "place/file").write_bytes(bytes(100_000))
    volume.unmount(top / "place")
"""
LEFT = """
import sys
from pathlib import Path
from netloom.instances import limits, volume
top = Path(sys.argv[1])
(top / "probe").mkdir()
volume.make(top / "probe.disk", 1 << 24)
volume.mount(top / "probe.disk", top / "probe")
(top / "probe/file").write_bytes(bytes(100_000))
print(repr(limits.missing_disks(top, top)), sorted(path.name for path in top.iterdir()))
"""


def apart(script: str, folder: Path) -> str:
    """Run a script whose mounts nobody else sees."""
    line = ["unshare", "--mount", sys.executable, "-c", script, str(folder)]
    done = subprocess.run(line, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_a_disk_is_made_anew_right_after_it_was_used(tmp_path: Path) -> None:
    """The kernel writes to the old file what it kept of it, and not to the new one."""
    apart(AGAIN, tmp_path)


def test_an_agent_that_was_killed_in_its_trial_leaves_the_next_one_able(tmp_path: Path) -> None:
    said = apart(LEFT, tmp_path)
    assert said == "'' []\n"
