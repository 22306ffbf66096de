"""docs/operators.md shows every setting there is, with its default; so do the docstrings of the settings."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path
from typing import Any

import msgspec
import pytest
from msgspec import Struct

from netloom.agent import settings as agent
from netloom.model import server_settings as server

PAGE = (Path(__file__).parents[3] / "docs/operators.md").read_text()
SERVER, AGENT = re.findall(r"```toml\n(.*?)```", PAGE, re.S)
TABLES: list[type[Struct]] = [
    *(field.type for field in msgspec.structs.fields(server.Settings)),
    agent.AgentSettings,
]


def every_line(block: str) -> dict[str, Any]:
    """The block with its settings that are commented out (`# name = value`) put in."""
    return tomllib.loads(re.sub(r"(?m)^# (?=\w+ = )", "", block))


def test_the_servers_file_is_complete_and_its_values_are_the_defaults(tmp_path: Path) -> None:
    shown = every_line(SERVER)
    for section in msgspec.structs.fields(server.Settings):
        assert set(shown[section.name]) == {f.name for f in msgspec.structs.fields(section.type)}, (
            section.name
        )
    file = tmp_path / "server.toml"
    file.write_text(SERVER)
    assert server.load(file) == server.Settings()


def test_the_agents_file_is_complete_and_what_is_commented_out_are_the_defaults(
    tmp_path: Path,
) -> None:
    shown = every_line(AGENT)
    assert set(shown) == {f.name for f in msgspec.structs.fields(agent.Settings)}
    fields = {f.name: f.default for f in msgspec.structs.fields(agent.AgentSettings)}
    assert set(shown["agent"]) == set(fields)
    for name in re.findall(r"(?m)^# (\w+) = ", AGENT):
        value = shown["agent"][name]
        assert (tuple(value) if isinstance(value, list) else value) == fields[name], name
    file = tmp_path / "agent.toml"
    file.write_text(AGENT)
    agent.load(file)


@pytest.mark.parametrize("table", TABLES)
def test_every_setting_is_in_its_docstring(table: type[Struct]) -> None:
    words = set(re.findall(r"`(\w+)", table.__doc__ or ""))
    assert {field.name for field in msgspec.structs.fields(table)} <= words
