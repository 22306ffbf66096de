"""Tables of requests: what is asked, and the error or the code that it gets, by the numbers of docs/behaviours.md."""

from __future__ import annotations

from typing import Any, NamedTuple

from tests.support.networking import Cloud


class Case(NamedTuple):
    """One request. `{name}` in path and body stands for the id of that name in the test's world.

    `error`: (code, type), or (code, type, message); a code alone for an answer that is no error.
    """

    number: str
    who: str
    method: str
    path: str
    body: Any
    error: Any
    headers: dict[str, str] = {}

    def __str__(self) -> str:
        return f"{self.number}-{self.who}-{self.method}{self.path}"[:60]


def named(cases: list[Case]) -> dict[str, Any]:
    """Return the arguments of `parametrize` for a table."""
    return {"argnames": "case", "argvalues": cases, "ids": [str(case) for case in cases]}


def filled(value: Any, ids: dict[str, str]) -> Any:
    """Return a path or body with the world's ids in place of their names."""
    if isinstance(value, str):
        for name, id in ids.items():
            value = value.replace(f"{{{name}}}", id)
        return value
    if isinstance(value, dict):
        return {key: filled(each, ids) for key, each in value.items()}
    if isinstance(value, list):
        return [filled(each, ids) for each in value]
    return value


def check(cloud: Cloud, ids: dict[str, str], case: Case) -> None:
    """Send a case's request and compare."""
    client = getattr(cloud, case.who)
    body = filled(case.body, ids)
    answer = client(case.method, filled(case.path, ids), body, **case.headers)
    if isinstance(case.error, int):
        assert answer.status_code == case.error, answer.text
        return
    assert answer.status_code == case.error[0], answer.text
    error = answer.json()["NeutronError"]
    found = [answer.status_code, error["type"], error["message"], error["detail"]]
    wanted = filled(list(case.error), ids)
    assert found[: len(wanted)] == wanted and found[3] == "", answer.text
