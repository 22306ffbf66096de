"""The command line itself: what it is, and mistakes as one plain line."""

from __future__ import annotations

import argparse
import importlib
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from netloom import __version__
from netloom.cli.main import COMMANDS, Parser, main


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


def parsers(parser: argparse.ArgumentParser) -> Iterator[argparse.ArgumentParser]:
    """The parser and those of all verbs below it."""
    yield parser
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            for below in action.choices.values():
                yield from parsers(below)


@pytest.mark.parametrize("command", COMMANDS)
def test_no_option_is_taken_for_another(command: str) -> None:
    parser = Parser()
    importlib.import_module(COMMANDS[command][0]).add_arguments(parser)
    assert not any(each.allow_abbrev for each in parsers(parser))


def test_a_shortened_option_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["lab", "up", "--host", "3"])
    assert ended.value.code == 2
    assert "unrecognized arguments: --host" in capsys.readouterr().err
