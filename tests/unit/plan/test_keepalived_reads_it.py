"""keepalived itself reads what is written for it, whatever the values; what it would misread is refused."""

from __future__ import annotations

import random
import subprocess
from pathlib import Path

import pytest
from msgspec.structs import replace

from netloom.model.hoststate import ConnectionSync, HeldAddress, HeldRoute, Keepalived
from netloom.render.keepalived import conntrackd_conf, keepalived_conf
from netloom.render.values import Unwritable

ITEM = Keepalived(
    namespace="qrouter-x",
    router_id="x",
    device="ha-1",
    vrid=3,
    priority=100,
    addresses=(HeldAddress("qg-1", "203.0.113.5/24"), HeldAddress("qr-1", "10.0.0.1/24")),
    routes=(HeldRoute("0.0.0.0/0", "qg-1", "203.0.113.1"), HeldRoute("10.8.0.0/24", "qg-1")),
    links=("tunnels", "br-public"),
    shared=(HeldAddress("qg-1", "203.0.113.5/24"),),
)
SYNC = ConnectionSync(namespace="qrouter-x", device="ha-1", address="169.254.192.1", number=3)


def accepted(text: str, folder: Path) -> subprocess.CompletedProcess[str]:
    """What `keepalived -t` says; a network namespace of its own keeps it from the machine's devices."""
    path = folder / "conf"
    path.write_text(text)
    return subprocess.run(
        ["keepalived", "-t", "-f", str(path)], capture_output=True, text=True, check=False
    )


def test_it_is_read(tmp_path: Path) -> None:
    done = accepted(keepalived_conf(ITEM, "/run/links", "/run/home"), tmp_path)
    assert (done.returncode, done.stderr) == (0, "")
    wrong = accepted(keepalived_conf(ITEM, "/run/links", "/run/home") + "nonsense {\n", tmp_path)
    assert wrong.returncode != 0


def test_any_router_is_read(tmp_path: Path) -> None:
    draw = random.Random(7)
    for number in range(15):
        devices = [f"q{draw.choice('rg')}-{draw.getrandbits(40):010x}" for _ in range(4)]
        addresses = {
            f"{draw.randint(1, 223)}.{draw.randint(0, 255)}.{draw.randint(0, 255)}.{n % 254 + 1}"
            f"/{draw.choice((8, 24, 30, 32))}"
            for n in range(draw.choice((0, 1, 40, 400)))
        }
        ways = {f"{draw.randint(1, 223)}.{n % 256}.0.0/16" for n in range(draw.choice((0, 3, 30)))}
        item = replace(
            ITEM,
            device=f"ha-{number}",
            vrid=draw.choice((1, 254, 77)),
            priority=draw.choice((1, 254)),
            addresses=tuple(HeldAddress(draw.choice(devices), each) for each in sorted(addresses)),
            routes=tuple(
                HeldRoute(each, draw.choice(devices), draw.choice((None, "10.9.9.9")))
                for each in sorted(ways)
            ),
            links=draw.choice(((), ("tunnels",))),
        )
        done = accepted(keepalived_conf(item, "/run/links", "/run/home"), tmp_path)
        assert (done.returncode, done.stderr) == (0, ""), done.stderr


EVIL = ("", "x\nscript", "a b", "}", "!x", "#x", '"x', "x" * 200, "../x", "-x")


@pytest.mark.parametrize("evil", EVIL)
def test_what_is_no_value_is_refused(evil: str) -> None:
    for item in (
        replace(ITEM, device=evil),
        replace(ITEM, addresses=(HeldAddress(evil, "10.0.0.1/24"),)),
        replace(ITEM, addresses=(HeldAddress("qg-1", evil),)),
        replace(ITEM, routes=(HeldRoute(evil, "qg-1"),)),
        replace(ITEM, routes=(HeldRoute("10.0.0.0/24", evil),)),
        replace(ITEM, routes=(HeldRoute("10.0.0.0/24", "qg-1", f"1{evil}x"),)),
        replace(ITEM, links=(evil,)),
    ):
        with pytest.raises(Unwritable):
            keepalived_conf(item, "/run/links", "/run/home")
    for sync in (replace(SYNC, device=evil), replace(SYNC, address=evil)):
        with pytest.raises(Unwritable):
            conntrackd_conf(sync, "/run/sync/qrouter-x")
    if evil not in ("../x", "-x"):
        with pytest.raises(Unwritable):
            conntrackd_conf(SYNC, f"/run/{evil}")


@pytest.mark.parametrize("number", [0, 255, -1])
def test_numbers_are_bounded(number: int) -> None:
    for wrong in (replace(ITEM, vrid=number), replace(ITEM, priority=number)):
        with pytest.raises(Unwritable):
            keepalived_conf(wrong, "/run/links", "/run/home")
    with pytest.raises(Unwritable):
        conntrackd_conf(replace(SYNC, number=number), "/run/sync/qrouter-x")
    many = tuple(HeldAddress("qg-1", f"10.0.{n >> 8}.{n & 255}/32") for n in range(5000))
    with pytest.raises(Unwritable):
        keepalived_conf(replace(ITEM, addresses=many), "/run/links", "/run/home")
