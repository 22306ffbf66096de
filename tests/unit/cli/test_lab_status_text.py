"""`lab status` says "no errors" only when there are none."""

from __future__ import annotations

from typing import Any

import pytest

from netloom.lab.status import text

HOST = {
    "host": "compute1",
    "roles": ["compute"],
    "running": True,
    "heard_seconds_ago": 1.0,
    "behind": 0,
}
WELL: dict[str, Any] = {
    "lab": "x",
    "api": "http://127.0.0.1:1",
    "server_running": True,
    "seq": 7,
    "hosts": [HOST],
    "errors": [],
    "waiting": [],
    "repairs": [],
    "well": True,
}
ERROR = {"object": "server/s", "host": "", "aspect": "status", "detail": "No valid host was found."}
WAIT = {"host": "compute1", "detail": "the link is down", "objects": ["port/p", "server/s"]}


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({}, "no errors"),
        ({"errors": [ERROR], "well": False}, "error: server/s (status): No valid host was found."),
        ({"waiting": [WAIT]}, "waiting: port/p and 1 more on compute1: the link is down"),
        ({"hosts": [HOST | {"running": False}], "well": False}, "compute  NOT running"),
        ({"hosts": [HOST | {"behind": 3}], "well": False}, "3 changes behind"),
        ({"server_running": False, "well": False}, "the server is NOT running"),
    ],
)
def test_no_errors_is_said_only_when_all_is_well(wrong: dict[str, Any], said: str) -> None:
    lines = text(WELL | wrong)
    assert said in lines
    assert ("no errors" in lines) == (not wrong)
