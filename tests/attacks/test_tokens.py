"""Tokens on their way: in the log, beside a service's, through a clock that is set, and through TLS."""

from __future__ import annotations

import logging
import os
import socket
import ssl
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from netloom.api.networking.policy import Policy
from netloom.identity import tokens as tokens_module
from netloom.model.errors import UserError
from netloom.server import logs
from tests.support.cloud import ADMIN, DEMO, Cloud, running
from tests.support.serving import free_port, netloom, serving


@pytest.fixture(scope="module")
def cloud(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cloud]:
    with running(tmp_path_factory.mktemp("tokens")) as there:
        yield there


class Kept(logging.Handler):
    """What the log would have on stderr."""

    def __init__(self) -> None:
        super().__init__()
        self.lines: list[str] = []
        self.addFilter(logs.OneLine())
        self.setFormatter(logs.WithoutTokens("%(message)s"))

    def emit(self, record: logging.LogRecord) -> None:
        self.lines.append(self.format(record))


@pytest.fixture
def log() -> Iterator[list[str]]:
    handler, root = Kept(), logging.getLogger()
    level = root.level
    root.addHandler(handler)
    root.setLevel(logging.INFO)
    try:
        yield handler.lines
    finally:
        root.removeHandler(handler)
        root.setLevel(level)


def test_no_token_in_a_line_of_the_log(cloud: Cloud, log: list[str]) -> None:
    token = cloud.token()
    encoded = "".join(f"%{byte:02x}" for byte in token.encode())
    for path in (
        f"/identity/v3/auth/tokens/{token}",
        f"/networking/v2.0/networks/{token}",
        f"/networking/v2.0/networks?token={token}&x={token}",
        f"/image/v2/images/x{token}y/file",
        f"/compute/v2.1/servers/{encoded}",
        f"/identity/v3/users/{token[:60]}",
        f"/a%20{token}%0A{token}",
    ):
        cloud.http.get(path, headers={"x-auth-token": token, "user-agent": token})
    text = "\n".join(log)
    assert text.count("(token)") >= 6
    for part in token.split("."):
        assert part not in text
    assert DEMO not in text and ADMIN not in text


def test_no_token_in_a_traceback_and_no_endless_line(log: list[str]) -> None:
    token = "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxIn0.c2lnbmF0dXJl"
    try:
        raise ValueError(f"bad {token}")
    except ValueError:
        logging.getLogger("x").exception("failed for gAAAA%s", "B" * 100)
    logging.getLogger("x").info("x" * 100_000)
    text = "\n".join(log)
    assert "(token)" in text and token not in text and "BBBB" not in text
    assert max(map(len, log)) < 5000


# ---- X-Service-Token


def grant(cloud: Cloud, name: str, role: str) -> dict[str, str]:
    """Make a user with a role on a project of its own; headers with its token."""
    with cloud.client("admin", "admin") as client:
        v3 = "/identity/v3"
        project = client.post(f"{v3}/projects", json={"project": {"name": name}}).json()["project"]
        body = {"user": {"name": name, "password": name}}
        user = client.post(f"{v3}/users", json=body).json()["user"]
        (found,) = client.get(f"{v3}/roles?name={role}").json()["roles"]
        path = f"{v3}/projects/{project['id']}/users/{user['id']}/roles/{found['id']}"
        assert client.put(path).status_code == 204
    return {"x-service-token": cloud.token(name, name, name)}


@pytest.fixture(scope="module")
def service(cloud: Cloud) -> dict[str, str]:
    return grant(cloud, "nova", "service")


def test_a_users_port_of_an_instance_is_deleted_through_a_service_alone(
    cloud: Cloud, service: dict[str, str]
) -> None:
    with cloud.client("demo") as demo, cloud.client("admin", "admin") as admin:
        v2 = "/networking/v2.0"
        network = demo.post(f"{v2}/networks", json={"network": {}}).json()["network"]["id"]
        port = demo.post(f"{v2}/ports", json={"port": {"network_id": network}}).json()["port"]["id"]
        owned = {"port": {"device_owner": "compute:nova"}}
        assert admin.put(f"{v2}/ports/{port}", json=owned).status_code == 200
        assert demo.delete(f"{v2}/ports/{port}").status_code == 403
        member = grant(cloud, "helper", "member")
        assert demo.delete(f"{v2}/ports/{port}", headers=member).status_code == 403
        for invalid in ("x", "", service["x-service-token"] + "x", "eyJ.eyJ.x"):
            answer = demo.delete(f"{v2}/ports/{port}", headers={"x-service-token": invalid})
            assert answer.status_code == (401 if invalid else 403), invalid
        # The service does not act for itself here: its own project owns nothing.
        alone = {"x-auth-token": cloud.token("helper", "helper", "helper")} | service
        assert demo.delete(f"{v2}/ports/{port}", headers=alone).status_code == 404
        assert demo.delete(f"{v2}/ports/{port}", headers=service).status_code == 204
        demo.delete(f"{v2}/networks/{network}")


def test_a_services_token_gives_the_user_no_role(cloud: Cloud, service: dict[str, str]) -> None:
    with cloud.client("demo") as demo:
        assert demo.get("/networking/v2.0/agents", headers=service).json()["agents"] == []
        assert demo.get("/identity/v3/users", headers=service).status_code == 403
        assert demo.get("/networking/v2.0/networks", headers=service).status_code == 200


class Clock:
    now = 0.0


@pytest.fixture
def clock(cloud: Cloud, monkeypatch: pytest.MonkeyPatch) -> Clock:
    import time

    moved = Clock()
    monkeypatch.setattr(cloud.services.tokens, "_clock", lambda: time.time() + moved.now)
    return moved


def test_a_services_token_vouches_for_a_users_that_has_ended(
    cloud: Cloud, service: dict[str, str], clock: Clock
) -> None:
    url = "/networking/v2.0/networks"
    user, other = {"x-auth-token": cloud.token()}, {"x-auth-token": cloud.token()}
    revoked = {"x-auth-token": other["x-auth-token"], "x-subject-token": other["x-auth-token"]}
    assert cloud.http.delete("/identity/v3/auth/tokens", headers=revoked).status_code == 204
    member = grant(cloud, "member2", "member")
    clock.now = 3700
    fresh = {"x-service-token": cloud.token("nova", "nova", "nova")}
    stranger = {"x-service-token": cloud.token("member2", "member2", "member2")}
    assert cloud.http.get(url, headers=user).status_code == 401
    assert cloud.http.get(url, headers=user | fresh).status_code == 200
    assert cloud.http.get(url, headers=user | service).status_code == 401, "it has ended itself"
    assert cloud.http.get(url, headers=user | stranger).status_code == 401, "no service"
    assert cloud.http.get(url, headers=user | member).status_code == 401
    assert cloud.http.get(url, headers=other | fresh).status_code == 401, "revoked is revoked"
    subject = {"x-subject-token": user["x-auth-token"]}
    asking = {"x-auth-token": fresh["x-service-token"]} | subject
    tokens = "/identity/v3/auth/tokens"
    assert cloud.http.get(tokens, headers=asking).status_code == 404
    assert cloud.http.get(f"{tokens}?allow_expired=1", headers=asking).status_code == 200
    clock.now = 3700 + tokens_module.ALLOW_EXPIRED_SECONDS
    late = {"x-service-token": cloud.token("nova", "nova", "nova")}
    assert cloud.http.get(url, headers=user | late).status_code == 401


@pytest.mark.slow
def test_a_revoked_token_stays_revoked_through_restarts_and_any_clock(tmp_path: Path) -> None:
    """A real server, started again and again with its clock set."""
    site, ahead = tmp_path / "site", tmp_path / "ahead"
    site.mkdir()
    (site / "sitecustomize.py").write_text(
        f"import pathlib, time\nreal = time.time\nahead = float(pathlib.Path({str(ahead)!r}).read_text())\n"
        "time.time = lambda: real() + ahead\n"
    )
    token = ""
    for seconds in (0, 10 * 86_400, 0):
        ahead.write_text(str(seconds))
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("PYTHONPATH", str(site))
            with serving(tmp_path) as server:
                if not token:
                    import json

                    admin = json.loads((server.state / "first-passwords.json").read_text())["admin"]
                    user = {"name": "admin", "domain": {"id": "default"}, "password": admin}
                    identity: dict[str, Any] = {"methods": ["password"], "password": {"user": user}}
                    made = httpx.post(
                        f"{server.url}/identity/v3/auth/tokens",
                        json={"auth": {"identity": identity}},
                    )
                    token = made.headers["x-subject-token"]
                    own = {"x-auth-token": token, "x-subject-token": token}
                    url = f"{server.url}/identity/v3/auth/tokens"
                    assert httpx.delete(url, headers=own).status_code == 204
                own = {"x-auth-token": token, "x-subject-token": token}
                url = f"{server.url}/identity/v3/auth/tokens"
                assert httpx.get(url, headers=own).status_code == 401, seconds


# ---- TLS


@pytest.fixture(scope="module")
def tls(tmp_path_factory: pytest.TempPathFactory) -> Iterator[int]:
    folder = tmp_path_factory.mktemp("tls")
    line = "openssl req -x509 -newkey rsa:2048 -nodes -days 2 -subj /CN=127.0.0.1 -keyout key.pem -out cert.pem"
    subprocess.run(line.split(), cwd=folder, check=True, capture_output=True)
    port = free_port()
    config = folder / "server.toml"
    config.write_text(
        f'[server]\nlisten = "127.0.0.1:{port}"\nstate_dir = "{folder}/state"\n'
        f'tls_certificate = "{folder}/cert.pem"\ntls_key = "{folder}/key.pem"\n'
    )
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", "netloom", "server", "--config", str(config)],
            stdout=log,
            stderr=log,
        )
    try:
        while True:
            assert process.poll() is None, (folder / "log").read_text()
            try:
                socket.create_connection(("127.0.0.1", port), 1).close()
                break
            except OSError:
                continue
        yield port
    finally:
        process.terminate()
        process.wait(20)


def shake(port: int, version: ssl.TLSVersion, ciphers: str) -> str | None:
    """Shake hands with one version and these ciphers alone; the cipher that both took, or None."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    context.minimum_version = context.maximum_version = version
    context.set_ciphers(ciphers + ":@SECLEVEL=0")
    try:
        with (
            socket.create_connection(("127.0.0.1", port), 30) as plain,
            context.wrap_socket(plain) as secure,
        ):
            cipher = secure.cipher()
            return cipher[0] if cipher else None
    except (ssl.SSLError, ConnectionError):
        return None


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_every_handshake_has_forward_secrecy_and_authenticated_encryption(tls: int) -> None:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.set_ciphers("ALL:COMPLEMENTOFALL:@SECLEVEL=0")
    old = [c["name"] for c in context.get_ciphers() if c["protocol"] != "TLSv1.3"]
    assert (
        sum(
            "CBC" in str(c["description"]) or "AES(128)" in str(c["description"])
            for c in context.get_ciphers()
        )
        > 5
    )
    taken = {name for name in old if shake(tls, ssl.TLSVersion.TLSv1_2, name)}
    assert taken == {
        "ECDHE-RSA-AES128-GCM-SHA256",
        "ECDHE-RSA-AES256-GCM-SHA384",
        "ECDHE-RSA-CHACHA20-POLY1305",
    }
    assert shake(tls, ssl.TLSVersion.TLSv1_3, "ALL")
    for version in (ssl.TLSVersion.TLSv1, ssl.TLSVersion.TLSv1_1):
        assert shake(tls, version, "ALL") is None


# ---- the policy file


@pytest.mark.parametrize(
    ("mode", "folder", "complaint"),
    [
        (0o600, 0o700, ""),
        (0o644, 0o755, ""),
        (0o644, 0o1777, ""),
        (0o666, 0o700, "can be written by others"),
        (0o620, 0o700, "can be written by others"),
        (0o644, 0o777, "can be replaced by others"),
        (0o644, 0o775, "can be replaced by others"),
    ],
)
def test_a_policy_file_that_others_can_write_is_refused(
    tmp_path: Path, mode: int, folder: int, complaint: str
) -> None:
    (tmp_path / "etc").mkdir()
    file = tmp_path / "etc/policy.yaml"
    file.write_text('"get_network": "role:reader"\n')
    file.chmod(mode)
    (tmp_path / "etc").chmod(folder)
    if not complaint:
        Policy(str(file))
        return
    with pytest.raises(UserError, match=complaint):
        Policy(str(file))
    if mode != 0o666:
        return
    config = tmp_path / "server.toml"
    config.write_text(f'[server]\nstate_dir = "{tmp_path}/state"\npolicy_file = "{file}"\n')
    refused = netloom("server", "--config", str(config))
    assert refused.returncode == 2
    assert refused.stderr.count("\n") == 1 and complaint in refused.stderr


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root to give a file away")
def test_a_policy_file_of_somebody_else_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "policy.yaml"
    file.write_text('"get_network": "role:reader"\n')
    os.chown(file, 12345, 12345)
    with pytest.raises(UserError, match="can be written by others"):
        Policy(str(file))


def test_rules_that_others_could_write_meanwhile_are_not_taken_up(tmp_path: Path) -> None:
    from netloom.model import Caller

    file = tmp_path / "policy.yaml"
    file.write_text('"get_agent": "role:admin"\n')
    policy = Policy(str(file))
    file.write_text('"get_agent": "role:reader"\n')
    file.chmod(0o666)
    policy._looked = 0.0
    policy.refresh()
    assert not policy.allows(Caller(roles=frozenset({"reader"})), "get_agent", {})
    file.chmod(0o600)
    policy._looked = 0.0
    policy.refresh()
    assert policy.allows(Caller(roles=frozenset({"reader"})), "get_agent", {})
