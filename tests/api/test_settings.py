"""The server's settings file: defaults, and one plain line for each mistake."""

from pathlib import Path

import pytest

from netloom.model.errors import UserError
from netloom.model.server_settings import load


def write(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "server.toml"
    path.write_text(text)
    return path


def test_an_empty_file_is_the_defaults(tmp_path: Path) -> None:
    settings = load(write(tmp_path, ""))
    assert settings.server.address == ("127.0.0.1", 9696)
    assert settings.server.url == "http://127.0.0.1:9696"
    assert settings.server.database_url == "sqlite:////var/lib/netloom/netloom.db"


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("[server]\nlisten = 9696", "[server] listen: expected `str`, got `int`"),
        ('[server]\nlitsen = "x"', "unknown setting [server] litsen"),
        ("[sevrer]", "unknown setting section [sevrer]"),
        ('[server]\nlisten = "9696"', "[server] listen must be ADDRESS:PORT, not '9696'"),
        ('[server]\nauth = "none"', "[server] auth: invalid enum value 'none'"),
        ('[server]\ntls_key = "x"', "tls_certificate and tls_key go together"),
        ("[server", "is not valid TOML"),
        ('[network]\nvni_ranges = [["a", 2]]', "[network] vni_ranges[0][0]"),
        (
            "[network]\nvni_ranges = [[10, 1]]",
            "[network] vni_ranges: [10, 1] is no range between 1 and 16777215",
        ),
        (
            "[network]\ntunnel_id_ranges = [[1, 4294967296]]",
            "[network] tunnel_id_ranges: [1, 4294967296] is no range between 1 and 4294967295",
        ),
        ("[network]\noverlay_ip_version = 5", "[network] overlay_ip_version"),
        (
            "[network.vlan_ranges]\np = [[1, 4095]]",
            "[network] vlan_ranges.p: [1, 4095] is no range",
        ),
        ('[network]\nbase_mac = "zz"', "[network] base_mac: expected `str` matching"),
        ('[network]\nbase_mac = "01:16:3e:00:00:00"', "multicast"),
        (
            '[network]\nproject_network_types = ["flat"]',
            "project_network_types[0]: invalid enum value 'flat'",
        ),
        (
            "[network.quotas]\nprot = 5",
            "[network.quotas] prot is no quota: there are floatingip, network, port",
        ),
        ("[network.quotas]\nport = -2", "[network] quotas"),
        ("[network]\nagent_down_seconds = 5", "[network] agent_down_seconds: expected `float` > 5"),
        ("[identity]\ntoken_seconds = 0", "[identity] token_seconds: expected `int` >= 1"),
        (
            '[compute]\ndefault_instance_type = "vm"',
            "[compute] default_instance_type: invalid enum value",
        ),
        ("[compute.quotas]\ninstnces = 1", "[compute.quotas] instnces is no quota"),
        ('[server]\npublic_url = "cloud.example.org"', "public_url must be an http or https URL"),
    ],
)
def test_a_mistake_is_one_line_that_names_the_place(
    tmp_path: Path, text: str, complaint: str
) -> None:
    with pytest.raises(UserError) as caught:
        load(write(tmp_path, text))
    assert complaint in str(caught.value)
    assert "\n" not in str(caught.value)
    assert "server.toml" in str(caught.value)


def test_a_missing_file_is_said_plainly(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="cannot read the settings file"):
        load(tmp_path / "absent.toml")
