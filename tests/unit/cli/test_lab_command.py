"""`netloom lab exec` takes --name on either side of the host; the command's own options stay its own."""

from __future__ import annotations

import pytest

from netloom.cli.lab import name_after_host


@pytest.mark.parametrize(
    ("argv", "name", "command"),
    [
        (["--name", "two", "--", "ip", "a"], "two", ["--", "ip", "a"]),
        (["--name=two", "ip", "a"], "two", ["ip", "a"]),
        (["--", "tool", "--name", "x"], None, ["--", "tool", "--name", "x"]),
        (["tool", "--name", "x"], None, ["tool", "--name", "x"]),
        (["--name"], None, ["--name"]),
        ([], None, []),
    ],
)
def test_name_after_host(argv: list[str], name: str | None, command: list[str]) -> None:
    assert name_after_host(None, argv) == (name, command)
    if name is None:
        assert name_after_host("given", argv)[0] == "given"
