"""The recorded answers about security group rules are still Neutron's.

A sample is asked for, as Neutron takes 0.1 s for each; NETLOOM_RECORD_RULES=1 asks for all and records them anew.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

from tests.differential.sides import Identity, neutron
from tests.support import rule_table

pytestmark = pytest.mark.slow

SAMPLE = 15


def test_neutron_answers_as_recorded(tmp_path: Path) -> None:
    every = 1 if os.environ.get("NETLOOM_RECORD_RULES") else SAMPLE
    who = Identity("member", "1" * 32, "member,reader")
    try:
        with neutron(tmp_path) as side:

            def ask(method: str, path: str, body: Any) -> tuple[int, Any]:
                answer = side.ask(who, method, path.removeprefix("/"), body, {})
                return answer.status, answer.body

            found = rule_table.run(ask, every)
    except LookupError as missing:
        pytest.skip(str(missing))
    if every == 1:
        rule_table.record(found)
    wanted = rule_table.recorded()
    assert found == {"single": wanted["single"][::every], "twins": wanted["twins"]}
