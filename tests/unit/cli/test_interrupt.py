"""Ctrl-C at any moment ends a command without a traceback."""

from __future__ import annotations

from pathlib import Path

import pytest

from netloom.cli import main


def test_ctrl_c_while_the_command_is_being_loaded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "slow_to_load.py").write_text("raise KeyboardInterrupt")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setitem(main.COMMANDS, "demo", ("slow_to_load", "loads slowly"))
    assert main.main(["demo"]) == 130
