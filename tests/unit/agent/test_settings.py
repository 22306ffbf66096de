from __future__ import annotations

from pathlib import Path

import msgspec
import pytest

from netloom.agent.link import Link
from netloom.agent.settings import AgentSettings, load
from netloom.cli.main import main
from netloom.model.errors import UserError
from netloom.model.hosts import HostFacts

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
    assert (settings.physical_interfaces(), settings.bonds()) == ({"br-extnet": "eth1"}, {})
    more = '[physical_networks]\nextnet = ["eth1", "eth2"]\n'
    settings = load(write(tmp_path, GOOD + more))
    assert settings.physical_interfaces() == {"br-extnet": "bond-extnet"}
    assert settings.bonds() == {"bond-extnet": ("eth1", "eth2")}


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("[agent", "not valid TOML"),
        ("[agent]\n", "[agent] host is missing"),
        ("", "section [agent] is missing"),
        (GOOD + "hots = 1\n", "unknown setting [agent] hots"),
        (GOOD + "[physical]\n", "unknown setting section [physical]"),
        (GOOD + 'roles = ["controller"]\n', "[agent] roles[0]: invalid enum value 'controller'"),
        (
            GOOD + 'tunnel_ip = "here"\n',
            "[agent] tunnel_ip: 'here' is no IP address: tunnels need one",
        ),
        (GOOD + "max_image_mib = 0\n", "max_image_mib"),
        (
            GOOD.replace("unix:///run/netloom/server.sock", "https://x:port"),
            "[agent] server must be",
        ),
        (GOOD.replace("unix:///run/netloom/server.sock", "https://"), "[agent] server must be"),
        (GOOD.replace("compute1", "compute 1"), "no host name"),
        (GOOD + 'instance_types = ["vm"]\n', "vm"),
        (GOOD.replace("unix:///run/netloom/server.sock", "http://plain"), "https"),
        (GOOD + '[physical_networks]\nx = ["eth1"]\n', "a bond takes 2 to 8 different interfaces"),
        (GOOD + '[physical_networks]\nx = ["eth1", "eth1"]\n', "a bond takes 2 to 8"),
        (GOOD + '[physical_networks]\nx = ["eth1", "a b"]\n', "no name of a network device"),
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


def credential(tmp_path: Path, text: str, mode: int = 0o600) -> AgentSettings:
    secret = tmp_path / "secret"
    secret.write_text(text)
    secret.chmod(mode)
    return AgentSettings(host="c1", server="https://x:9696", secret_file=str(secret))


def test_a_credential_is_one_word_for_its_owner_alone(tmp_path: Path) -> None:
    facts = HostFacts(host="c1")
    Link(credential(tmp_path, "some-secret\n"), facts)
    with pytest.raises(UserError, match=r"others can read .*: chmod 600 "):
        Link(credential(tmp_path, "some-secret\n", 0o640), facts)
    for text in ("", "\n", "two\nlines\n", "sécret"):
        with pytest.raises(UserError, match="netloom host add"):
            Link(credential(tmp_path, text), facts)
    with pytest.raises(UserError, match="netloom host add"):
        Link(
            msgspec.structs.replace(credential(tmp_path, "x"), secret_file=str(tmp_path / "none")),
            facts,
        )


def test_a_ca_file_without_a_certificate_is_said_at_once(tmp_path: Path) -> None:
    settings = credential(tmp_path, "some-secret\n")
    for ca_file in (tmp_path / "none.pem", tmp_path / "secret"):
        with pytest.raises(UserError, match=r"\[agent\] ca_file .* holds no certificate"):
            Link(msgspec.structs.replace(settings, ca_file=str(ca_file)), HostFacts(host="c1"))


def test_a_file_that_is_not_there(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["agent", "--config", str(tmp_path / "none")]) == 2
    assert "cannot read" in capsys.readouterr().err
