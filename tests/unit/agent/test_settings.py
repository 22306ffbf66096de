from __future__ import annotations

from pathlib import Path

import pytest

from netloom.agent.settings import load
from netloom.cli.main import main
from netloom.model.errors import UserError

GOOD = """
[agent]
host = "compute1"
server = "unix:///run/netloom/server.sock"
secret_file = "/etc/netloom/secret"
"""


def write(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "agent.toml"
    path.write_text(text)
    return path


def test_a_file_as_the_help_shows_it(tmp_path: Path) -> None:
    more = 'instance_types = ["container"]\n[physical_networks]\nextnet = "eth1"\n'
    settings = load(write(tmp_path, GOOD + more))
    assert settings.agent.host == "compute1"
    assert settings.agent.roles == ("compute",)
    assert settings.bridge_mappings() == {"extnet": "br-extnet"}


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("[agent", "not valid TOML"),
        ("[agent]\n", "required field"),
        (GOOD + "hots = 1\n", "hots"),
        (GOOD + 'roles = ["controller"]\n', "controller"),
        (GOOD + 'instance_types = ["vm"]\n', "vm"),
        (GOOD.replace("unix:///run/netloom/server.sock", "http://plain"), "https"),
        (GOOD + '[physical_networks]\n"a-name-too-long" = "eth1"\n', "1 to 8"),
    ],
)
def test_mistakes_are_one_line(tmp_path: Path, text: str, words: str) -> None:
    with pytest.raises(UserError) as caught:
        load(write(tmp_path, text))
    assert words in str(caught.value)
    assert "\n" not in str(caught.value)


def test_it_does_not_act_in_a_namespace_that_is_not_its_own(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["agent", "--config", str(write(tmp_path, GOOD))]) == 2
    said = capsys.readouterr().err
    assert "network_namespace" in said
    assert said.count("\n") == 1


def test_a_file_that_is_not_there(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["agent", "--config", str(tmp_path / "none")]) == 2
    assert "cannot read" in capsys.readouterr().err
