"""The support archive says what is needed and holds no secret, wherever one has got to."""

from __future__ import annotations

import base64
import secrets
import tarfile
from pathlib import Path

import msgspec
import pytest

from netloom.api.hosts.endpoints import secret_hash
from netloom.cli.main import main
from netloom.identity import passwords, tokens
from netloom.identity.tokens import Tokens
from netloom.lab.state import Lab
from netloom.model import Domain, Flavor, HostFacts, Network, Port, Server, Status, User
from netloom.server.database import first_passwords
from netloom.store import Store
from netloom.support import dump as support_dump


@pytest.fixture
def lab(tmp_path: Path) -> Lab:
    lab = Lab("x", tmp_path / "labs" / "x")
    (lab.directory / "server").mkdir(parents=True)
    (lab.directory / "server.toml").write_text(f'[server]\nstate_dir = "{lab.directory}/server"\n')
    return lab


def test_asking_for_versions_leaves_nothing_on_the_machine() -> None:
    before = set(Path("/run").iterdir())
    for words in support_dump.VERSIONS:
        support_dump._output(words)
    assert set(Path("/run").iterdir()) == before


def fill(lab: Lab) -> set[str]:
    """Make an installation with every sort of secret, spill all of them into a log; return them."""
    folder = lab.directory / "server"
    store = Store.open(f"sqlite:///{folder}/netloom.db")
    store.upgrade()
    admin, demo = first_passwords(folder / "first-passwords.json")
    host_secret = secrets.token_urlsafe(32)
    hashed = passwords.hash_password(admin)
    user_data = base64.b64encode(b"#cloud-config password: hunter2").decode()
    with store.writer() as w:
        w.insert(Domain(id="default"))
        user = w.insert(User(id="u1", name="admin", password_hash=hashed))
        w.update(msgspec.structs.replace(user, email="a@example.org"))
        w.insert(
            Server(
                id="s1",
                user_id="u1",
                image_id="i",
                flavor=Flavor(id="f"),
                user_data=user_data,
                admin_pass="Correct-Horse-9",
            )
        )
        w.insert(Network(id="net", name="telling-name"))
        w.insert(Port(id="p", network_id="net", mac_address="fa:16:3e:00:00:01", host="c1"))
        w.put_host("c1", secret_hash=secret_hash(host_secret), facts=HostFacts(host="c1"))
        w.put_status(
            "c1",
            [Status(kind="port", id="p", aspect="l2", seq=1, state="error", detail="no device")],
        )
    key = tokens.load_key(folder / "token.key")
    token, _ = Tokens(key, 60).issue(user, "", "", ("password",))
    store.close()
    written_key = (folder / "token.key").read_text().strip()
    known = {admin, demo, host_secret, hashed, user_data, "Correct-Horse-9", token, written_key}
    known |= {secret_hash(host_secret)}
    (lab.host("c1") / "logs").mkdir(parents=True)
    (lab.host("c1") / "secret").write_text(host_secret + "\n")
    private = "-----BEGIN OPENSSH PRIVATE KEY-----\nb3BlbnNzaC1rZXktdjEA\n-----END OPENSSH PRIVATE KEY-----"
    spilt = "\n".join(
        [*known, f"X-Auth-Token: {token}", "Authorization: Bearer abcdefgh1234", private]
    )
    (lab.directory / "server.log").write_text(f"before\n{spilt}\nafter\n")
    (lab.host("c1") / "logs" / "agent.log").write_text(f'{{"password": "swordfish"}} {spilt}')
    return known | {"abcdefgh1234", "b3BlbnNzaC1rZXktdjEA", "swordfish", "hunter2"}


def unpack(archive: Path) -> dict[str, str]:
    with tarfile.open(archive) as opened:
        return {
            member.name.removeprefix("netloom-support/"): opened.extractfile(member).read().decode()  # type: ignore[union-attr]
            for member in opened.getmembers()
        }


def test_it_says_what_is_needed_and_no_secret(lab: Lab, tmp_path: Path) -> None:
    known = fill(lab)
    output = tmp_path / "dump.tar.gz"
    support_dump.write(
        output, support_dump.server_settings.load(lab.directory / "server.toml"), lab
    )
    assert output.stat().st_mode & 0o077 == 0
    files = unpack(output)
    for name, text in files.items():
        for secret in known:
            assert secret not in text, (name, secret)

    assert "before" in files["logs/server.log"] and "after" in files["logs/server.log"]
    assert "logs/hosts/c1/logs/agent.log" in files
    assert "no device" in files["status-not-ok.json"]
    assert "telling-name" in files["changes.json"]
    assert '"tunnel_types"' in files["hosts.json"]
    assert '"state_dir"' in files["settings.json"]
    assert '"SQLAlchemy"' in files["versions.json"]


def test_the_command(lab: Lab, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    fill(lab)
    config, output = str(lab.directory / "server.toml"), str(tmp_path / "out.tar.gz")
    assert main(["support-dump", "--config", config, "--output", output]) == 0
    assert "secrets left out" in capsys.readouterr().out
    assert main(["support-dump", "--config", config, "--output", "/nowhere/x.tar.gz"]) == 2
    assert capsys.readouterr().err.count("\n") == 1


def test_a_damaged_database_keeps_nothing_else_back(lab: Lab, tmp_path: Path) -> None:
    known = fill(lab)
    database = lab.directory / "server" / "netloom.db"
    database.write_bytes(b"this is no database of anybody's" * 100)
    for beside in ("-wal", "-shm"):
        database.with_name(database.name + beside).unlink(missing_ok=True)
    output = tmp_path / "dump.tar.gz"
    support_dump.write(
        output, support_dump.server_settings.load(lab.directory / "server.toml"), lab
    )
    files = unpack(output)
    assert "restore it from a backup" in files["database-unreadable"]
    assert '"needed"' in files["versions.json"] and "before" in files["logs/server.log"]
    in_files = {(lab.host("c1") / "secret").read_text().strip()}
    in_files |= set(first_passwords(lab.directory / "server" / "first-passwords.json"))
    assert in_files <= known
    for text in files.values():
        assert not any(secret in text for secret in in_files) and "eyJ" not in text
