"""The plan's version follows its sources, whoever forgets to raise it."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from pathlib import Path

import netloom
from netloom.plan import VERSION

SOURCE = Path(netloom.__file__).parent


def version_in(folder: Path) -> str:
    words = "from netloom.plan import VERSION; print(VERSION)"
    line = [sys.executable, "-c", words]
    done = subprocess.run(
        line, capture_output=True, text=True, check=True, env={"PYTHONPATH": str(folder)}
    )
    return done.stdout.strip()


def test_each_change_of_a_source_is_another_version(tmp_path: Path) -> None:
    assert re.fullmatch("[0-9a-f]{12}", VERSION)
    shutil.copytree(SOURCE, tmp_path / "netloom", ignore=shutil.ignore_patterns("__pycache__"))
    assert version_in(tmp_path) == VERSION, "the same sources elsewhere"
    seen = {VERSION}
    for name in ("plan/l3.py", "model/openflow.py"):
        with (tmp_path / "netloom" / name).open("a") as file:
            file.write("MORE = 1\n")
        seen.add(version_in(tmp_path))
    assert len(seen) == 3
