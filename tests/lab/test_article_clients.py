"""Both walkthroughs word for word as the article has them, with the clients of its time and real ssh.

`make article-clients` installs them; without them these tests are skipped.
"""

from __future__ import annotations

import os
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from netloom.lab import guest, settings
from netloom.lab.image import small_image
from netloom.lab.topology import GATEWAYS, RANGES, WEB
from tests.support.running_lab import RunningLab, own_lab

pytestmark = [pytest.mark.root, pytest.mark.slow]

CLIENTS = Path(__file__).parents[2] / ".state/article-clients"
WHO_AM_I = f"wget -q -O - http://{WEB}/cgi-bin/address"


class Article:
    """A lab without networks of its own, and what a person types there."""

    def __init__(self, lab: RunningLab, folder: Path) -> None:
        self.lab = lab
        self.key = folder / "admin.pem"
        plain = {name: value for name, value in os.environ.items() if not name.startswith("OS_")}
        self.environment = plain | settings.environment(lab.lab, lab.state.port, "admin")

    def type(self, line: str, words: str = "") -> str:
        """Run a line of the article; `words` goes in as one more argument. Returns what is printed."""
        name, *arguments = line.split()
        program = [str(CLIENTS / name / "bin" / name), *arguments, *([words] if words else [])]
        done = self._run(program)
        assert done.returncode == 0, f"{line}: {done.stdout}{done.stderr}"
        return done.stdout

    def refused(self, line: str) -> str:
        """Run a line that must fail; returns the client's last line."""
        name, *arguments = line.split()
        done = self._run([str(CLIENTS / name / "bin" / name), *arguments])
        assert done.returncode != 0, f"{line}: {done.stdout}"
        return (done.stdout + done.stderr).strip().splitlines()[-1]

    def _run(self, program: list[str]) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            program, capture_output=True, text=True, check=False, timeout=120, env=self.environment
        )

    def id_of(self, network: str) -> str:
        """The id that `neutron net-list` shows of a network, as a person copies it."""
        found = re.search(
            rf"^\| ([0-9a-f-]{{36}}) \| {network} ", self.type("neutron net-list"), re.MULTILINE
        )
        assert found is not None
        return found[1]

    def boot(self, name: str, network: str) -> str:
        """`nova boot` and wait; returns the private address that `nova list` shows."""
        self.type(
            f"nova boot --flavor m1.medium --image RHEL7 --nic net-id={self.id_of(network)} "
            f"--key-name admin --security-groups all {name}"
        )

        def row() -> str:
            lines = [line for line in self.type("nova list").splitlines() if f"| {name} " in line]
            assert "ERROR" not in lines[0], self.type(f"nova show {name}")
            return lines[0]

        self.lab.until(lambda: "| ACTIVE |" in row(), 90, f"{name} is not ACTIVE")
        found = re.search(rf"{network}=([\d.]+)", row())
        assert found is not None
        return found[1]

    def login(self, address: str, words: str) -> str:
        """Run words in the instance over ssh, coming from outside."""
        guest.wait(self.lab.process("outside"), self.key, address)
        return self.lab.ssh(self.key, address, words)


@pytest.fixture(scope="module")
def article(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Article]:
    for name in ("neutron", "nova", "glance"):
        if not (CLIENTS / name / "bin" / name).exists():
            pytest.skip(
                f"no client of the article's time at {CLIENTS / name}: `make article-clients` makes it"
            )
    # The image is kept with the state of this tree; the lab is not, for its sockets want short paths.
    image = small_image()
    with own_lab("article", 2, bare=True) as running:
        made = Article(running, tmp_path_factory.mktemp("article"))
        made.type(
            "glance image-create --name RHEL7 --visibility public --disk-format qcow2 "
            f"--container-format bare --file {image}"
        )
        made.type("nova secgroup-create all", "Allow all tcp ports")
        made.type("nova secgroup-add-rule all TCP 1 65535 0.0.0.0/0")
        made.type("nova secgroup-add-rule all ICMP -1 -1 0.0.0.0/0")
        made.key.touch(mode=0o600)
        made.key.write_text(made.type("nova keypair-add admin"))
        yield made


def test_an_instance_on_a_provider_network(article: Article) -> None:
    article.type(
        "neutron net-create external_network --shared --provider:network_type flat "
        "--provider:physical_network extnet"
    )
    article.type(
        "neutron subnet-create --name public_subnet --allocation-pool=start=192.0.2.100,end=192.0.2.150 "
        f"--gateway={GATEWAYS['extnet']} external_network {RANGES['extnet']} --dns-nameserver {WEB}"
    )
    address = article.boot("my1", "external_network")
    assert 100 <= int(address.rpartition(".")[2]) <= 150
    seen = article.login(address, "ip -4 addr show eth0; ip route; cat /etc/resolv.conf")
    assert f"inet {address}/24" in seen
    assert f"default via {GATEWAYS['extnet']} " in seen
    assert "169.254.169.254 via " in seen
    assert f"nameserver {WEB}" in seen
    assert address in article.login(address, WHO_AM_I)


def test_a_floating_ip(article: Article) -> None:
    article.type("neutron net-create private")
    article.type(
        "neutron subnet-create private --name private_subnet "
        "--allocation-pool start=10.10.1.100,end=10.10.1.200 10.10.1.0/24"
    )
    article.type("neutron net-create public --router:external")
    article.type(
        "neutron subnet-create public --name public_subnet "
        "--allocation-pool start=203.0.113.100,end=203.0.113.150 --disable-dhcp "
        f"--gateway {GATEWAYS['public']} {RANGES['public']}"
    )
    article.type("neutron router-create router1 --ha False")
    article.type("neutron router-gateway-set router1 public")
    article.type("neutron router-interface-add router1 private_subnet")
    private = article.boot("my2", "private")
    found = re.search(r"203\.0\.113\.\d+", article.type("nova floating-ip-create public"))
    assert found is not None
    floating = found[0]
    article.type(f"nova floating-ip-associate my2 {floating}")
    seen = article.login(floating, "hostname; ip -4 addr show eth0")
    assert f"inet {private}/24" in seen and floating not in seen
    assert floating in article.login(floating, WHO_AM_I)
    assert f"private={private}, {floating}" in article.type("nova list")
    article.type(f"nova floating-ip-disassociate my2 {floating}")
    outside = article.lab.process("outside")
    article.lab.until(
        lambda: not guest.answers(outside, floating), 30, "the floating IP still answers"
    )


def test_refusals_are_one_clear_line(article: Article) -> None:
    assert "No image found with ID x" in article.refused("glance image-show x")
    assert "There is no such action: pause" in article.refused("nova pause my1")
    # The line before says why; the last names the request.
    assert "request_ids" in article.refused(
        "neutron net-create --provider:network_type nonsense net3"
    )
