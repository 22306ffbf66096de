"""The command line itself: what it is, and mistakes as one plain line."""

from __future__ import annotations

import tempfile
from pathlib import Path

import pytest

from netloom import __version__
from netloom.cli.main import main


def test_version(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["--version"])
    assert (ended.value.code, capsys.readouterr().out) == (0, f"netloom {__version__}\n")


def test_bench_wants_samples(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["bench", "--only", "api", "--samples", "0"]) == 2
    assert capsys.readouterr().err == "netloom: --samples must be at least 1\n"


def test_another_lab_that_is_there_is_named(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("os.geteuid", lambda: 0)
    # Sockets lie in it, whose paths must be short: no tmp_path.
    with tempfile.TemporaryDirectory(prefix="nl") as state:
        monkeypatch.setenv("NETLOOM_STATE", state)
        (Path(state) / "labs" / "two").mkdir(parents=True)
        assert main(["lab", "env"]) == 2
    said = capsys.readouterr().err
    assert said.startswith("netloom: there is no lab 'netloom': start it with ")
    assert said.endswith(", or name another with --name (there is two)\n")
