"""Finding out what happened: a request's id in every log, a support archive of a running cloud."""

from __future__ import annotations

import tarfile
from pathlib import Path

import httpx
import pytest

from netloom.bench import lab as bench_lab
from netloom.lab import settings
from netloom.support import dump as support_dump
from tests.support.running_lab import RunningLab

pytestmark = [pytest.mark.root, pytest.mark.slow]


def test_a_requests_id_finds_its_lines_on_the_server_and_on_the_host(lab: RunningLab) -> None:
    api = bench_lab.endpoint(lab.state, lab.lab)
    network = api.create("network")
    body = {"port": {"network_id": network["id"], "binding:host_id": "compute1", "name": "told"}}
    with lab.client() as client:
        answer = httpx.post(
            f"http://127.0.0.1:{lab.state.port}/networking/v2.0/ports",
            json=body,
            headers={"X-Auth-Token": client.token},
        )
    ident = answer.headers["x-openstack-request-id"]
    assert answer.status_code == 201 and ident.startswith("req-")

    def told(log: Path) -> bool:
        return ident in log.read_text()

    lab.until(lambda: told(lab.lab.directory / "server.log"))
    (log,) = lab.lab.host("compute1").glob("logs/agent*.log")
    lab.until(lambda: told(log), what=f"{ident} is not in {log}")
    assert not told(next(iter(lab.lab.host("compute2").glob("logs/agent*.log"))))
    api.ask("DELETE", f"ports/{answer.json()['port']['id']}")
    api.ask("DELETE", f"networks/{network['id']}")
    api.close()


def test_a_support_archive_of_a_running_cloud(lab: RunningLab, tmp_path: Path) -> None:
    output = tmp_path / "dump.tar.gz"
    support_dump.write(
        output, support_dump.server_settings.load(settings.server_file(lab.lab)), lab.lab
    )
    with tarfile.open(output) as archive:
        files = {
            name.removeprefix("netloom-support/"): archive.extractfile(name).read().decode()  # type: ignore[union-attr]
            for name in archive.getnames()
        }
    assert "table=0" in files["hosts/compute1/ovs-ofctl-dump-flows"]
    assert "br-int" in files["hosts/network1/ovs-vsctl-show"]
    assert '"plan_version"' in files["hosts.json"]
    secrets = set(settings.passwords(lab.lab).values())
    secrets |= {path.read_text().strip() for path in lab.lab.directory.glob("hosts/*/secret")}
    assert len(secrets) >= 5
    for name, text in files.items():
        assert not any(secret in text for secret in secrets), name
